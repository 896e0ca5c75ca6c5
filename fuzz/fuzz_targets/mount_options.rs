//! Mount options: any list of strings is understood in one way, which the kernel would take.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rruntime::plan::mount_options;

/// `MOUNT_ATTR__ATIME` of linux/mount.h.
const ATIME: u64 = 0x70;

fuzz_target!(|text: &str| {
    let options: Vec<&str> = text.split('\n').collect();
    let parsed = mount_options::parse(&options);
    for attributes in [parsed.attributes, parsed.recursive] {
        assert_eq!(attributes.set & attributes.clear & !ATIME, 0);
        assert!(attributes.set & ATIME == 0 || attributes.clear & ATIME == ATIME);
    }
    assert!(parsed.data_places.iter().all(|place| options[*place].is_empty() || parsed.data.contains(options[*place])));
});
