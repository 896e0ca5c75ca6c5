//! Whole command lines: those of the engines, all flags of the table, and whatever chance makes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::table::{COMMANDS, Flag, Value};
use super::*;

/// Reads a line after the program's name, every command of the table taken.
fn try_line(line: &[&str]) -> (GlobalOptions, Result<Command>) {
    let mut global = GlobalOptions::default();
    let argv = ["rruntime"].iter().chain(line).map(OsString::from);
    let command = read(argv, &mut global, |_| true);
    (global, command)
}

fn line(text: &str) -> (GlobalOptions, Command) {
    let words: Vec<_> = text.split_whitespace().collect();
    let (global, command) = try_line(&words);
    (global, command.unwrap_or_else(|error| panic!("{text}: {error}")))
}

fn command(text: &str) -> Command {
    line(text).1
}

fn fault(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let error = try_line(&words).1.unwrap_err();
    assert_eq!(error.what(), Kind::Usage, "{error}");
    error.to_string()
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

// How engines call: shared/design and the sources of podman, conmon, containerd, CRI-O, BuildKit.

#[test]
fn podman_and_conmon_create() {
    let (global, command) = line(
        "--systemd-cgroup --log-format=json --log /run/oci-log create --bundle /b --pid-file /b/pidfile --no-pivot \
         --no-new-keyring --preserve-fds 2 --console-socket /s c1",
    );
    assert_eq!(global.log, path("/run/oci-log"));
    assert_eq!(global.log_format, LogFormat::Json);
    assert_eq!(global.cgroup_manager, CgroupManager::Systemd);
    assert_eq!(global.root, None);
    assert_eq!(
        command,
        Command::Create(CreateOptions {
            id: "c1".into(),
            bundle: path("/b"),
            pid_file: path("/b/pidfile"),
            console_socket: path("/s"),
            preserve_fds: 2,
            no_pivot: true,
            no_new_keyring: true,
            ..CreateOptions::default()
        })
    );
}

#[test]
fn podman_and_conmon_exec() {
    let expected = ExecOptions {
        id: "c1".into(),
        process: path("/p.json"),
        pid_file: path("/e.pid"),
        detach: true,
        preserve_fds: 1,
        console_socket: path("/s"),
        ..ExecOptions::default()
    };
    let line = "exec --pid-file /e.pid --process /p.json --detach --preserve-fds 1 --console-socket /s c1";
    assert_eq!(command(line), Command::Exec(expected));
}

#[test]
fn podmans_other_calls() {
    let id = || "c1".to_owned();
    let target = || Target::Id(id());
    assert_eq!(command("start c1"), Command::Start(StartOptions { id: id() }));
    assert_eq!(command("kill --all c1 9"), Command::Kill(KillOptions { target: target(), signal: 9, all: true }));
    assert_eq!(command("kill c1 15"), Command::Kill(KillOptions { target: target(), signal: 15, all: false }));
    assert_eq!(command("delete --force c1"), Command::Delete(DeleteOptions { target: target(), force: true }));
    assert_eq!(command("pause c1"), Command::Pause(PauseOptions { id: id() }));
    assert_eq!(command("resume c1"), Command::Resume(ResumeOptions { id: id() }));
    let update = UpdateOptions { id: id(), resources: Some(Input::File("/f".into())), ..UpdateOptions::default() };
    assert_eq!(command("update --resources=/f c1"), Command::Update(update));
    assert_eq!(command("--version"), Command::Version);
    let Command::Checkpoint(checkpoint) = command("checkpoint --image-path /i --work-path /w --leave-running c1")
    else {
        panic!("not a checkpoint");
    };
    assert_eq!((checkpoint.criu.image_path, checkpoint.criu.work_path), (path("/i"), path("/w")));
    assert!(checkpoint.leave_running);
    let line = "restore --bundle /b --detach --image-path /i --work-path /w --pid-file /p --console-socket /s c1";
    let Command::Restore(restore) = command(line) else {
        panic!("not a restore");
    };
    assert!(restore.detach);
    assert_eq!((restore.create.bundle, restore.create.console_socket), (path("/b"), path("/s")));
}

#[test]
fn containerds_shim() {
    let global = "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --systemd-cgroup";
    let (options, _) = line(&format!(
        "{global} create --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring c1"
    ));
    assert_eq!(options.root, path("/run/containerd/runc/k8s.io"));
    for rest in [
        "start c1",
        "exec --process /p --console-socket /s --detach --pid-file /e c1",
        "kill --all c1 9",
        "kill c1 15",
        "delete c1",
        "delete --force c1",
        "pause c1",
        "resume c1",
        "checkpoint --image-path /i --work-path /w --tcp-established --ext-unix-sk --shell-job --file-locks c1",
        "features",
        "list --format=json",
        "state c1",
        "events --stats c1",
    ] {
        assert_eq!(line(&format!("{global} {rest}")).0, options, "{rest}");
    }
    assert_eq!(
        command("ps --format json c1"),
        Command::Ps(PsOptions { id: "c1".into(), format: Format::Json, args: vec![] })
    );
    let update = UpdateOptions { id: "c1".into(), resources: Some(Input::Stdin), ..UpdateOptions::default() };
    assert_eq!(command("update --resources=- c1"), Command::Update(update.clone()));
    assert_eq!(command("update --resources - c1"), Command::Update(update));
    let line = "restore --image-path /i --work-path /w --bundle /b --detach --pid-file /p -no-subreaper c1";
    let Command::Restore(restore) = command(line) else {
        panic!("not a restore");
    };
    assert!(restore.create.no_subreaper);
}

#[test]
fn buildkit_and_crio() {
    let create = CreateOptions { id: "c1".into(), bundle: path("/b"), ..CreateOptions::default() };
    assert_eq!(command("run --bundle /b c1"), Command::Run(RunOptions { create, detach: false, keep: false }));
    let kill = |signal, all| Command::Kill(KillOptions { target: Target::Id("c1".into()), signal, all });
    assert_eq!(command("kill c1 KILL"), kill(9, false));
    assert_eq!(command("kill -a c1 KILL"), kill(9, true));
    assert_eq!(command("kill c1"), kill(15, false));
}

#[test]
fn exec_ends_its_flags_at_the_id() {
    let exec = |text| match command(text) {
        Command::Exec(exec) => exec,
        other => panic!("{other:?}"),
    };
    let plain = exec("exec c1 sh -c ls --detach -t -- x");
    assert_eq!(plain.args, ["sh", "-c", "ls", "--detach", "-t", "--", "x"]);
    assert!(!plain.detach && !plain.tty);
    assert_eq!(exec("exec c1 -- sh -- x").args, ["sh", "--", "x"]);
    let full = exec(
        "exec -td -u 1:2 -g 3 -g=4 -e A=b --env C=d=e -c CAP_KILL --cap CAP_CHOWN --cwd /w --apparmor p \
         --process-label l --no-new-privs=false --cgroup cpu:a --ignore-paused --pidfd-socket /f c1 id",
    );
    assert_eq!(
        full,
        ExecOptions {
            id: "c1".into(),
            args: vec!["id".into()],
            cwd: path("/w"),
            env: vec!["A=b".into(), "C=d=e".into()],
            tty: true,
            user: Some(User { uid: 1, gid: Some(2) }),
            additional_gids: vec![3, 4],
            detach: true,
            pidfd_socket: path("/f"),
            process_label: Some("l".into()),
            apparmor: Some("p".into()),
            no_new_privs: Some(false),
            caps: vec!["CAP_KILL".into(), "CAP_CHOWN".into()],
            cgroup: vec![SubCgroup { controllers: vec!["cpu".into()], path: "a".into() }],
            ignore_paused: true,
            ..ExecOptions::default()
        }
    );
    let Command::Ps(ps) = command("ps c1 -e -o pid,comm --format x") else { panic!("not ps") };
    assert_eq!(ps.args, ["-e", "-o", "pid,comm", "--format", "x"]);
}

#[test]
fn the_program_gets_bytes_that_are_no_text() {
    let raw = OsString::from_vec(b"\xff\xfe".to_vec());
    let mut variable = OsString::from("A=");
    variable.push(&raw);
    let argv = ["rruntime", "exec", "-e"].map(OsString::from).into_iter();
    let argv = argv.chain([variable.clone(), "c1".into(), "echo".into(), raw.clone()]);
    let Command::Exec(exec) = parse(argv).command.unwrap() else { panic!("not exec") };
    assert_eq!((exec.env, exec.args), (vec![variable], vec!["echo".into(), raw.clone()]));
    // An id is text.
    let error = parse(["rruntime".into(), "state".into(), raw]).command.unwrap_err();
    assert_eq!(error.to_string(), "container id \"\\xFF\\xFE\" is not UTF-8");
}

#[test]
fn faults_are_named_with_what_can_be_done() {
    for (text, expected) in [
        ("delete --forc c1", "unknown flag: --forc (did you mean --force?)"),
        ("delete -forc c1", "unknown flag: -forc (did you mean --force?)"),
        ("delete -x c1", "unknown flag: -x (see rruntime delete --help)"),
        ("delete --root /r c1", "unknown flag: --root (it goes before the command: rruntime --root … delete)"),
        ("--zzz delete c1", "unknown flag: --zzz (see rruntime --help)"),
        ("--lok /l delete c1", "unknown flag: --lok (did you mean --log?)"),
        ("delte c1", "unknown command: delte (did you mean delete?)"),
        ("wibble c1", "unknown command: wibble (see rruntime --help)"),
        ("help wibble", "unknown command: wibble (see rruntime --help)"),
        ("create", "create needs the id of a container (see rruntime create --help)"),
        ("create c1 c2", "create takes no argument \"c2\""),
        ("list c1", "list takes no argument \"c1\""),
        ("kill c1 TERM x", "kill takes no argument \"x\""),
        ("kill c1 NOPE", "unknown signal \"NOPE\""),
        ("exec c1", "exec needs a command, or --process FILE"),
        ("exec -p f c1 sh", "exec takes no argument \"sh\" with --process"),
        ("exec -u root c1 sh", "flag --user: uid \"root\" is not a decimal number"),
        ("exec -g -1 c1 sh", "flag --additional-gids: \"-1\" is not a decimal number"),
        ("exec -e A c1 sh", "flag --env: \"A\" is not NAME=VALUE"),
        (
            "exec --cgroup a --cgroup b c1 sh",
            "flag --cgroup: \"a\" does not name its controllers, as in cpu,memory:PATH",
        ),
        ("create --preserve-fds -1 c1", "flag --preserve-fds: \"-1\" is not a decimal number"),
        ("create --bundle", "flag --bundle: needs a value"),
        ("list -f yaml", "flag --format: \"yaml\" is none of table, json"),
        ("--log-format xml list", "flag --log-format: \"xml\" is none of text, json"),
        ("--cgroup-manager none list", "flag --cgroup-manager: \"none\" is none of cgroupfs, systemd, disabled"),
        ("--root= list", "flag --root: is empty"),
        ("events --interval 0s c1", "flag --interval: must be greater than 0"),
        ("checkpoint --parent-path /p c1", "flag --parent-path: must be relative to --image-path"),
        ("checkpoint --empty-ns pid c1", "flag --empty-ns: \"pid\" is none of network"),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for verb in COMMANDS {
        let parsed = parse(["rruntime", verb.name, "--wrong"].map(OsString::from));
        let error = parsed.command.unwrap_err().to_string();
        assert_eq!(error.contains("unknown flag"), verb.supported, "{error}");
        assert_eq!(error == format!("command {} is not supported yet", verb.name), !verb.supported, "{error}");
    }
}

#[test]
fn a_wrong_command_line_is_logged_where_it_asked_for() {
    let (global, command) = try_line(&["--log", "/l", "--log-format", "json", "--root", "", "list"]);
    assert!(command.is_err());
    assert_eq!((global.log, global.log_format), (path("/l"), LogFormat::Json));
    let (global, command) = try_line(&["--log", "/l", "--log-format", "json", "--nope"]);
    assert!(command.is_err());
    assert_eq!((global.log, global.log_format), (path("/l"), LogFormat::Json));
}

#[test]
fn of_two_flags_for_one_thing_the_last_counts() {
    use log::LevelFilter::{Debug, Error};
    assert_eq!(line("--debug --log-level error list").0.log_level, Error);
    assert_eq!(line("--log-level error --debug list").0.log_level, Debug);
    assert_eq!(line("--debug=false list").0.log_level, GlobalOptions::default().log_level);
    assert_eq!(line("--systemd-cgroup --cgroup-manager disabled list").0.cgroup_manager, CgroupManager::Disabled);
    assert_eq!(line("--cgroup-manager=cgroupfs --systemd-cgroup list").0.cgroup_manager, CgroupManager::Systemd);
    assert_eq!(line("--rootless=true list").0.rootless, Rootless::True);
    assert_eq!(line("--criu /usr/sbin/criu list").0, GlobalOptions::default());
}

#[test]
fn help_is_had_in_every_way() {
    let whole = command("--help");
    for text in ["", "-h", "help", "--help --nope", "--debug"] {
        assert_eq!(command(text), whole, "{text}");
    }
    let exec = command("exec --help");
    assert_ne!(exec, whole);
    for text in ["exec -h", "help exec", "exec -h --nope c1 sh"] {
        assert_eq!(command(text), exec, "{text}");
    }
    // This one is the program's.
    assert!(matches!(command("exec c1 ls --help"), Command::Exec(_)));
    assert_eq!(command("-v"), Command::Version);
    assert_eq!(
        command("events c1"),
        Command::Events(EventsOptions { id: "c1".into(), interval: Duration::from_secs(5), stats: false })
    );
}

#[test]
fn the_status_is_the_commands_or_tells_who_failed() {
    let run = |text: &str, result: Result<u8>| run(text.split(' ').map(OsString::from), |_, _| Ok(result?));
    assert_eq!(run("rruntime run c1", Ok(7)), 7);
    assert_eq!(run("rruntime run c1", Err(Error::new("no"))), 1);
    assert_eq!(run("rruntime exec c1 sh", Err(Error::new("no"))), 255);
    // Nothing was executed: as with runc.
    assert_eq!(run("rruntime exec --nope c1 sh", Ok(7)), 1);
    assert_eq!(run("rruntime --version", Ok(7)), 0);
}

/// Words of a shell's line with single quotes at most.
fn shell_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

#[test]
fn the_examples_in_the_help_work() {
    for verb in COMMANDS {
        for (_, text) in verb.examples {
            let words = shell_words(text);
            let mut global = GlobalOptions::default();
            let read = read(words.iter().map(OsString::from), &mut global, |_| true);
            assert!(read.is_ok() && words[0] == "rruntime", "{text}: {read:?}");
        }
    }
}

/// A value that the flag takes and that is not its default.
fn sample(flag: &Flag) -> Option<&'static str> {
    Some(match flag.value {
        Value::Switch => return None,
        Value::Word(words) => words[words.len() - 1],
        Value::One("UID[:GID]") => "5:6",
        Value::One("TIME") => "7s",
        Value::One("ADDRESS:PORT") => "host:80",
        Value::One("N" | "US" | "BYTES" | "FD") | Value::Many("GID") => "7",
        Value::Many("NAME=VALUE") => "A=b",
        Value::Many("[CONTROLLER,…:]PATH") => "cpu:x",
        Value::Many("NAMESPACE") => "network",
        Value::One(_) | Value::Many(_) => "x",
    })
}

/// What has to stand after the flags.
fn operands(verb: &Verb, flags: &[&str]) -> &'static [&'static str] {
    match verb.operands {
        Operands::None => &[],
        Operands::IdCommand if !flags.contains(&"process") => &["c1", "sh"],
        _ => &["c1"],
    }
}

#[test]
fn every_flag_of_the_table_is_heard() {
    for verb in COMMANDS {
        let plain = match verb.operands {
            Operands::IdCommand => try_line(&[verb.name, "c1", "sh"]).1.unwrap(),
            _ => try_line(&[&[verb.name], operands(verb, &[])].concat()).1.unwrap(),
        };
        for flag in verb.each_flag() {
            let long = format!("--{}", flag.name);
            let mut words = vec![verb.name, &long];
            words.extend(sample(flag));
            words.extend(operands(verb, &[flag.name]));
            let given = try_line(&words).1.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            assert_ne!(given, plain, "{words:?}");
        }
    }
    let plain = try_line(&["list"]).0;
    for flag in GLOBAL.iter().filter(|flag| !["criu", "version"].contains(&flag.name)) {
        let long = format!("--{}", flag.name);
        let mut words = vec![long.as_str()];
        words.extend(sample(flag));
        words.push("list");
        assert_ne!(try_line(&words).0, plain, "{words:?}");
    }
}

/// A command and some of its flags, each at most once.
fn flags_of_a_command() -> impl Strategy<Value = (&'static Verb, Vec<&'static Flag>)> {
    (0..COMMANDS.len()).prop_flat_map(|at| {
        let verb = &COMMANDS[at];
        let all: Vec<_> = verb.each_flag().collect();
        let most = all.len();
        (Just(verb), proptest::sample::subsequence(all, 0..=most).prop_shuffle())
    })
}

/// The flag as typed in one of its four ways.
fn typed(flag: &Flag, way: usize) -> Vec<String> {
    let (name, value) = (flag.name, sample(flag));
    let dashes = if way < 2 { "--" } else { "-" };
    match (value, way % 2) {
        (None, _) => vec![format!("{dashes}{name}")],
        (Some(value), 0) => vec![format!("{dashes}{name}={value}")],
        (Some(value), _) => vec![format!("{dashes}{name}"), value.to_owned()],
    }
}

fn any_word() -> impl Strategy<Value = OsString> {
    let flags: Vec<String> = COMMANDS
        .iter()
        .flat_map(Verb::each_flag)
        .chain(GLOBAL)
        .flat_map(|flag| {
            let short = flag.short.map(|short| format!("-{short}"));
            [format!("--{}", flag.name), format!("-{}", flag.name), format!("--{}=", flag.name)]
                .into_iter()
                .chain(short)
        })
        .collect();
    let names: Vec<_> = COMMANDS.iter().map(|verb| verb.name).chain(["help", "c1"]).collect();
    prop_oneof![
        4 => proptest::sample::select(flags.clone()).prop_map(OsString::from),
        3 => proptest::sample::select(names).prop_map(OsString::from),
        2 => (proptest::sample::select(flags), "[-=,:0-9a-z]{0,6}").prop_map(|(flag, rest)| OsString::from(flag + &rest)),
        2 => "[-=,:.0-9a-zµ /]{0,12}".prop_map(OsString::from),
        1 => proptest::collection::vec(1_u8.., 0..8).prop_map(OsString::from_vec),
        1 => Just(OsString::from("--")),
    ]
}

proptest! {
    #[test]
    fn no_command_line_panics(words in proptest::collection::vec(any_word(), 0..12)) {
        let mut global = GlobalOptions::default();
        let argv = std::iter::once(OsString::from("rruntime")).chain(words);
        if let Err(error) = read(argv, &mut global, |_| true) {
            prop_assert_eq!(error.what(), Kind::Usage);
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_panics(text in "\\PC{0,24}|[-+0-9.:,kmgiszuhbµRTMINAX]{0,24}") {
        use super::values::*;
        let _ = (user(&text), signal(&text), bytes(&text), interval(&text), page_server(&text), rootless(&text));
        let _ = (unsigned::<u16>(&text), signed::<i64>(&text), sub_cgroups(&[text.clone(), text]));
    }

    #[test]
    fn order_and_spelling_of_flags_change_nothing(
        (verb, flags) in flags_of_a_command(),
        ways in proptest::collection::vec(0_usize..4, 64),
        late in any::<bool>(),
    ) {
        let names: Vec<_> = flags.iter().map(|flag| flag.name).collect();
        let operands: Vec<_> = operands(verb, &names).iter().map(ToString::to_string).collect();
        let mut sorted = flags.clone();
        sorted.sort_by_key(|flag| flag.name);
        let plain = sorted.iter().flat_map(|flag| typed(flag, 0)).chain(operands.clone());
        let spelled = flags.iter().zip(&ways).flat_map(|(flag, way)| typed(flag, *way));
        let flags_last = late && !matches!(verb.operands, Operands::IdCommand | Operands::IdPsArgs);
        let spelled: Vec<_> = match flags_last {
            true => operands.clone().into_iter().chain(spelled).collect(),
            false => spelled.chain(operands).collect(),
        };
        let read = |words: Vec<String>| {
            let words: Vec<_> = std::iter::once(verb.name).chain(words.iter().map(String::as_str)).collect();
            try_line(&words).1
        };
        let plain = read(plain.collect());
        prop_assert!(plain.is_ok(), "{:?}", plain);
        prop_assert_eq!(plain, read(spelled));
    }

    #[test]
    fn clap_reads_the_same_line_alike((verb, flags) in flags_of_a_command(), ways in proptest::collection::vec(0_usize..2, 64)) {
        let names: Vec<_> = flags.iter().map(|flag| flag.name).collect();
        let mut words = vec!["rruntime".to_owned(), verb.name.to_owned()];
        words.extend(flags.iter().zip(&ways).flat_map(|(flag, way)| typed(flag, *way)));
        words.extend(operands(verb, &names).iter().map(ToString::to_string));
        let whole = tree::whole(|_| true);
        let matches = whole.try_get_matches_from(&words).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (name, matches) = matches.subcommand().unwrap();
        prop_assert_eq!(name, verb.name);
        for flag in verb.each_flag() {
            let typed = matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
            prop_assert_eq!(typed, names.contains(&flag.name), "{}", flag.name);
        }
    }
}
