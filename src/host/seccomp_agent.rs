//! The seccomp agent: whoever answers the system calls that a profile gives to `SCMP_ACT_NOTIFY`.
//!
//! The listener's descriptor and the container process state enter, nothing leaves: both go to the agent's socket
//! (runtime-spec, config-linux.md, "The Container Process State"). It runs in the runtime's process, whose own system
//! calls the filter does not touch, and whose root directory is the one that `listenerPath` means.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{ContainerProcessStateBuilder, SECCOMP_FD_NAME, State};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};

use crate::error::{Error, Result};

/// How long the agent may take, from the connection to the last byte.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the agent, for exactly one state.
#[derive(Debug)]
pub struct Agent {
    socket: OwnedFd,
    path: PathBuf,
    deadline: Instant,
}

impl Agent {
    /// Connects to the agent's socket. All that follows has to be done within `patience`.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self> {
        let refused = |errno| {
            let call = format!("connect(AF_UNIX, {path:?})");
            wrapped(Error::sys(call, errno).hint("is the seccomp agent running?"))
        };
        let address = SocketAddrUnix::new(path).map_err(refused)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| wrapped(Error::sys("socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC)", errno)))?;
        let agent = Self { socket, path: path.to_owned(), deadline: Instant::now() + patience };
        // The timeout for sending holds for connecting too, which waits while the agent's backlog is full (unix(7)).
        agent.limit_time()?;
        loop {
            match connect(&agent.socket, &address) {
                Ok(()) => return Ok(agent),
                Err(Errno::INTR) => agent.limit_time()?,
                Err(Errno::AGAIN) => return Err(agent.too_slow()),
                Err(errno) => return Err(refused(errno)),
            }
        }
    }

    /// Sends the state, made by [`process_state`], and with its first byte the listener; then closes the connection.
    pub fn send(self, state: &[u8], listener: BorrowedFd) -> Result<()> {
        let descriptors = [listener];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rest = state;
        let mut first = true;
        while !rest.is_empty() {
            self.limit_time()?;
            let mut control = SendAncillaryBuffer::new(&mut space);
            if first {
                // PROOF: the buffer was made for one descriptor.
                assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "one descriptor fits");
            }
            match sendmsg(self.socket.as_fd(), &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    first = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(self.too_slow()),
                Err(errno) => {
                    let call = format!("sendmsg({:?}, SCM_RIGHTS)", self.path);
                    return Err(wrapped(Error::sys(call, errno)));
                }
            }
        }
        Ok(())
    }

    /// Lets the next system call on the socket wait until the deadline and not longer.
    fn limit_time(&self) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.too_slow());
        }
        set_socket_timeout(&self.socket, Timeout::Send, Some(left))
            .map_err(|errno| wrapped(Error::sys("setsockopt(SO_SNDTIMEO)", errno)))
    }

    fn too_slow(&self) -> Error {
        wrapped(Error::new(format!("the agent at {:?} takes too long", self.path)))
    }
}

/// Connects to the agent at `path` and gives it the state and the listener, within `patience`.
pub fn hand_over(path: &Path, state: &[u8], listener: BorrowedFd, patience: Duration) -> Result<()> {
    Agent::connect(path, patience)?.send(state, listener)
}

/// The container process state as JSON: `pid` is the process's as the runtime sees it, `metadata` the profile's
/// `listenerMetadata`.
pub fn process_state(state: State, pid: i32, metadata: Option<&str>) -> Result<Vec<u8>> {
    let mut builder = ContainerProcessStateBuilder::default()
        .version(state.version().as_str())
        .fds(vec![SECCOMP_FD_NAME.to_owned()])
        .pid(pid)
        .state(state);
    if let Some(metadata) = metadata {
        builder = builder.metadata(metadata);
    }
    let state = builder.build().map_err(|error| wrapped(Error::new(error.to_string())))?;
    serde_json::to_vec(&state).map_err(|error| wrapped(Error::new(error.to_string())))
}

fn wrapped(error: Error) -> Error {
    error.wrap("give the seccomp listener to its agent")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use serde_json::json;

    use super::*;
    use crate::scratch::Scratch;

    /// A directory for sockets, gone with the test.
    struct Place(Scratch);

    impl Place {
        fn new() -> Self {
            Self(Scratch::new())
        }

        fn socket(&self) -> PathBuf {
            self.0.join("agent")
        }
    }

    fn state(annotation: &str) -> State {
        serde_json::from_value(json!({
            "ociVersion": "1.2.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b",
            "annotations": {"a": annotation},
        }))
        .unwrap()
    }

    #[test]
    fn the_agent_gets_the_state_and_the_descriptor() {
        let place = Place::new();
        let server = UnixListener::bind(place.socket()).unwrap();
        // More than a socket's buffer holds, so that it takes several calls.
        let annotation = "x".repeat(1 << 20);
        let bytes = process_state(state(&annotation), 42, Some("meta")).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut first = [0; 16];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&stream, &mut [std::io::IoSliceMut::new(&mut first)], &mut control, flags).unwrap();
            let mut files: Vec<OwnedFd> = control
                .drain()
                .flat_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(files) => files.collect(),
                    _ => Vec::new(),
                })
                .collect();
            let mut text = first[..received.bytes].to_vec();
            stream.read_to_end(&mut text).unwrap();
            assert_eq!(files.len(), 1);
            (text, File::from(files.remove(0)))
        });
        let (reader, writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut &writer, b"hello").unwrap();
        drop(writer);
        hand_over(&place.socket(), &bytes, reader.as_fd(), PATIENCE).unwrap();
        let (text, mut file) = agent.join().unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello", "it is the same open file");
        let mut value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["state"]["annotations"]["a"], annotation.as_str());
        value["state"]["annotations"] = json!(null);
        assert_eq!(
            value,
            json!({
                "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 42, "metadata": "meta",
                "state": {"ociVersion": "1.2.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b",
                          "annotations": null},
            })
        );
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let place = Place::new();
        let path = place.socket();
        let text = Agent::connect(&path, PATIENCE).unwrap_err().to_string();
        let step = format!("give the seccomp listener to its agent: connect(AF_UNIX, {path:?})");
        assert_eq!(text, format!("{step}: no such file or directory (is the seccomp agent running?)"));
        drop(UnixListener::bind(&path).unwrap());
        let text = Agent::connect(&path, PATIENCE).unwrap_err().to_string();
        assert_eq!(text, format!("{step}: connection refused (is the seccomp agent running?)"));
        let long = Path::new("/").join("x".repeat(200));
        let text = Agent::connect(&long, PATIENCE).unwrap_err().to_string();
        assert!(text.contains(": file name too long"), "{text}");
    }

    #[test]
    fn an_agent_that_closes_is_named() {
        let place = Place::new();
        let server = UnixListener::bind(place.socket()).unwrap();
        let agent = Agent::connect(&place.socket(), PATIENCE).unwrap();
        drop(server.accept().unwrap());
        let file = File::open("/dev/null").unwrap();
        let text = agent.send(b"{}", file.as_fd()).unwrap_err().to_string();
        let path = place.socket();
        assert_eq!(text, format!("give the seccomp listener to its agent: sendmsg({path:?}, SCM_RIGHTS): broken pipe"));
    }

    #[test]
    fn an_agent_that_does_not_read_is_not_waited_for() {
        let place = Place::new();
        let _server = UnixListener::bind(place.socket()).unwrap();
        let file = File::open("/dev/null").unwrap();
        let state = vec![b' '; 1 << 22];
        let patience = Duration::from_millis(50);
        let text = hand_over(&place.socket(), &state, file.as_fd(), patience).unwrap_err().to_string();
        let path = place.socket();
        assert_eq!(text, format!("give the seccomp listener to its agent: the agent at {path:?} takes too long"));
    }

    #[test]
    fn an_agent_that_does_not_accept_is_not_waited_for() {
        let place = Place::new();
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(place.socket()).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let _first = Agent::connect(&place.socket(), PATIENCE).unwrap();
        let text = Agent::connect(&place.socket(), Duration::from_millis(50)).unwrap_err().to_string();
        assert!(text.ends_with("takes too long"), "{text}");
    }
}
