//! The receiving end of `--console-socket` and `--pidfd-socket`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{poll, scratch};

/// A listening socket that takes one descriptor.
pub struct Receiver {
    pub path: PathBuf,
    listener: UnixListener,
}

/// What one connection sent.
pub struct Received {
    pub descriptors: Vec<OwnedFd>,
    pub payload: Vec<u8>,
}

impl Receiver {
    pub fn new() -> Self {
        let path = scratch::path("s");
        let listener = UnixListener::bind(&path).expect("bind a socket");
        listener.set_nonblocking(true).expect("make a socket non-blocking");
        Self { path, listener }
    }

    /// True when somebody has connected; takes that connection.
    pub fn connected(&self) -> bool {
        self.listener.accept().is_ok()
    }

    /// Waits for a connection and its one message.
    #[track_caller]
    pub fn receive(&self) -> Received {
        let (stream, _) = poll::wait_for("somebody connects", || self.listener.accept().ok());
        stream.set_read_timeout(Some(poll::DEADLINE)).expect("set a timeout");
        let mut payload = vec![0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(&stream, &mut [IoSliceMut::new(&mut payload)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .expect("receive a message");
        payload.truncate(message.bytes);
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Received { descriptors, payload }
    }

    /// Waits for one descriptor.
    #[track_caller]
    pub fn descriptor(&self) -> OwnedFd {
        let mut received = self.receive();
        assert_eq!(received.descriptors.len(), 1, "exactly one descriptor is sent");
        received.descriptors.remove(0)
    }
}
