//! The whole conversation, with a scripted manager at the other end of a socket pair, and over a real dbus-daemon.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use super::super::unit::Unit;
use super::*;

/// The unique name that the scripted manager has on its bus.
const NAME: &str = ":1.2";
const JOB: &str = "/org/freedesktop/systemd1/job/77";
const SCOPE: &str = "rruntime-c.scope";

/// The other end of the client's socket.
struct Server {
    socket: UnixStream,
    input: Vec<u8>,
    peer: Peer,
    serial: u32,
}

impl Server {
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let length = self.socket.read(&mut bytes).unwrap();
        self.input.extend(&bytes[..length]);
        length > 0
    }

    fn handshake(&mut self) {
        let expected = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
        while self.input.len() < expected.len() {
            assert!(self.read(), "the client went away");
        }
        assert_eq!(self.input.drain(..expected.len()).collect::<Vec<_>>(), expected);
        self.socket.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
    }

    /// The next call; its member is checked.
    fn next(&mut self, member: &str) -> Message {
        loop {
            if let Some((message, length)) = Message::decode(&self.input).unwrap() {
                self.input.drain(..length);
                assert_eq!(message.member.as_deref(), Some(member));
                return message;
            }
            assert!(self.read(), "the client went away before {member}");
        }
    }

    /// True where the client has closed and said nothing more.
    fn is_left(&mut self) -> bool {
        self.input.is_empty() && !self.read()
    }

    fn send(&mut self, mut message: Message) {
        self.serial += 1;
        message.serial = self.serial;
        message.sender = message.sender.or(match self.peer {
            Peer::Bus => Some(NAME.into()),
            Peer::Manager => None,
        });
        self.socket.write_all(&message.encode()).unwrap();
    }

    fn answer(&mut self, call: &Message, body: Vec<Value>) {
        self.send(Message { reply_to: Some(call.serial), body, ..Message::empty(Kind::Return) });
    }

    fn refuse(&mut self, call: &Message, name: &str, text: &str) {
        let error_name = Some(name.to_owned());
        let body = vec![Value::from(text)];
        self.send(Message { reply_to: Some(call.serial), error_name, body, ..Message::empty(Kind::Error) });
    }

    fn removed(&mut self, sender: Option<&str>, job: &str, unit: &str, result: &str) {
        let body = vec![Value::UInt32(77), Value::Path(job.into()), Value::from(unit), Value::from(result)];
        let sender = sender.map(str::to_owned);
        self.send(Message {
            kind: Kind::Signal,
            sender,
            ..Message::call("", SYSTEMD_PATH, MANAGER, "JobRemoved", body)
        });
    }

    /// Everything before the first order.
    fn greet(&mut self) {
        self.handshake();
        if self.peer == Peer::Bus {
            let hello = self.next("Hello");
            self.answer(&hello, vec![Value::from(":1.9")]);
        }
        for value in ["252.38-1~deb12u1", "/"] {
            let get = self.next("Get");
            self.answer(&get, vec![Value::Variant(Box::new(Value::from(value)))]);
        }
    }

    /// StartTransientUnit with its AddMatch answered.
    fn start(&mut self) -> Message {
        if self.peer == Peer::Bus {
            let watch = self.next("AddMatch");
            assert!(watch.text(0).unwrap().ends_with(&format!("member='JobRemoved',arg2='{SCOPE}'")));
            self.answer(&watch, vec![]);
        }
        self.next("StartTransientUnit")
    }

    fn job(&mut self, call: &Message) {
        self.answer(call, vec![Value::Path(JOB.into())]);
    }
}

/// Runs a client against a scripted server; both have to come to their ends.
fn converse<T: Send>(
    peer: Peer,
    server: impl FnOnce(&mut Server) + Send,
    client: impl FnOnce(Result<Systemd>) -> T + Send,
) -> T {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || server(&mut Server { socket: theirs, input: Vec::new(), peer, serial: 0 }));
        let bus = Connection::over(ours, "/test/bus".into());
        client(Systemd::over(bus, peer, Manager::System, Duration::from_secs(20)))
    })
}

fn scope() -> Scope {
    let unit = Unit { name: SCOPE.into(), slice: "a.slice".into() };
    Scope { unit, properties: vec![Property::new("Delegate", Value::Bool(true))] }
}

/// What start_scope says to a server.
fn start(peer: Peer, server: impl FnOnce(&mut Server) + Send) -> Result<()> {
    converse(peer, server, |systemd| systemd?.start_scope(&scope(), 42))
}

fn start_error(server: impl FnOnce(&mut Server) + Send) -> String {
    start(Peer::Bus, server).unwrap_err().to_string()
}

#[test]
fn a_scope_starts_in_two_exchanges() {
    for peer in [Peer::Bus, Peer::Manager] {
        let server = |server: &mut Server| {
            server.greet();
            let call = server.start();
            let list = Value::Array(
                "(sv)".into(),
                vec![
                    Property::new("Delegate", Value::Bool(true)).to_value(),
                    Property::new("PIDs", Value::Array("u".into(), vec![Value::UInt32(42)])).to_value(),
                ],
            );
            let none = Value::Array("(sa(sv))".into(), vec![]);
            assert_eq!(call.body, [Value::from(SCOPE), Value::from("replace"), list, none]);
            server.job(&call);
            server.removed(None, JOB, SCOPE, "done");
            assert!(server.is_left(), "there was a further call");
        };
        start(peer, server).unwrap();
    }
}

#[test]
fn version_and_place_are_known_from_the_beginning() {
    let facts = converse(Peer::Bus, Server::greet, |systemd| systemd.unwrap().facts(Controllers::V2));
    assert_eq!((facts.version, facts.control_group.as_str()), (252, ""));
}

#[test]
fn the_end_of_the_job_may_come_before_the_answer() {
    let server = |server: &mut Server| {
        server.greet();
        let call = server.start();
        server.removed(None, JOB, SCOPE, "done");
        server.job(&call);
    };
    start(Peer::Bus, server).unwrap();
}

#[test]
fn only_the_managers_word_about_our_job_counts() {
    let error = start_error(|server| {
        server.greet();
        let call = server.start();
        // Anybody on the system bus may send us this.
        server.removed(Some(":1.666"), JOB, SCOPE, "done");
        server.job(&call);
        server.removed(Some(":1.666"), JOB, SCOPE, "done");
        server.removed(None, "/org/freedesktop/systemd1/job/1", SCOPE, "done");
        server.removed(None, JOB, "other.scope", "done");
        // A reply to a call that was never made, and calls to us.
        server.send(Message { reply_to: Some(99), ..Message::empty(Kind::Return) });
        server.send(Message::call(":1.9", "/", "org.freedesktop.DBus.Peer", "Ping", vec![]));
        server.removed(None, JOB, SCOPE, "timeout");
        let reset = server.next("ResetFailedUnit");
        server.answer(&reset, vec![]);
    });
    assert!(
        error.contains("systemd ended the job with \"timeout\" (look into journalctl -u rruntime-c.scope)"),
        "{error}"
    );
}

#[test]
fn a_leftover_is_reset_and_the_start_tried_once_more() {
    let exists = "org.freedesktop.systemd1.UnitExists";
    let server = |server: &mut Server| {
        server.greet();
        let call = server.start();
        server.refuse(&call, exists, "Unit rruntime-c.scope already exists.");
        let reset = server.next("ResetFailedUnit");
        server.answer(&reset, vec![]);
        let call = server.next("StartTransientUnit");
        server.job(&call);
        server.removed(None, JOB, SCOPE, "done");
    };
    start(Peer::Bus, server).unwrap();

    let error = start_error(|server| {
        server.greet();
        let call = server.start();
        server.refuse(&call, exists, "Unit rruntime-c.scope already exists.");
        let reset = server.next("ResetFailedUnit");
        server.refuse(&reset, "org.freedesktop.systemd1.NoSuchUnit", "not loaded");
        let call = server.next("StartTransientUnit");
        server.refuse(&call, exists, "Unit rruntime-c.scope already exists.");
        assert!(server.is_left(), "it was tried again and again");
    });
    assert_eq!(
        error,
        "start rruntime-c.scope in a.slice: a unit of this name exists already: \"Unit rruntime-c.scope already exists.\" \
         (org.freedesktop.systemd1.UnitExists) (look at it with systemctl status rruntime-c.scope)"
    );
}

#[test]
fn refusals_say_what_to_do() {
    for (name, hint) in [
        ("org.freedesktop.DBus.Error.ServiceUnknown", "no systemd manager is on this bus"),
        ("org.freedesktop.DBus.Error.AccessDenied", "orders from root only"),
        ("org.freedesktop.DBus.Error.PropertyReadOnly", "do the org.systemd.property annotations"),
        ("org.freedesktop.DBus.Error.Failed", ""),
    ] {
        let error = start_error(|server| {
            server.greet();
            let call = server.start();
            server.refuse(&call, name, "No.");
        });
        let beginning = format!(
            "start rruntime-c.scope in a.slice: systemd bus at /test/bus: StartTransientUnit: \"No.\" ({name})"
        );
        assert!(error.starts_with(&beginning) && error.contains(hint), "{error}");
    }
}

#[test]
fn a_bus_that_goes_away_is_told() {
    let closed = "systemd bus at /test/bus: it closed the connection";
    assert_eq!(start_error(|server| server.handshake()), closed);
    let error = start_error(|server| {
        server.greet();
        let call = server.start();
        server.job(&call);
    });
    assert_eq!(error, format!("start rruntime-c.scope in a.slice: {closed}"));
}

#[test]
fn a_server_that_is_no_bus_is_told() {
    for (answer, fault) in [
        (&b"REJECTED DBUS_COOKIE_SHA1\r\n"[..], "it refuses us (EXTERNAL authentication: REJECTED DBUS_COOKIE_SHA1)"),
        (b"DATA\r\nERROR\r\n", "it refuses us"),
        (b"HTTP/1.1 400 Bad Request\r\n", "it does not speak D-Bus"),
        (b"OK 12\r\n", "it does not speak D-Bus"),
        (&[b'x'; 5000], "it does not speak D-Bus"),
        (b"DATA\r\nOK 12\r\ngarbage that is no message", "malformed D-Bus message: its first byte"),
        (b"DATA\r\nOK 12\r\nl\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0", "longer than 1 MiB"),
    ] {
        let error = start_error(|server| {
            server.socket.write_all(answer).unwrap();
            // Until the client goes away, with or without having read all.
            drop(std::io::copy(&mut server.socket, &mut std::io::sink()));
        });
        assert!(error.starts_with("systemd bus at /test/bus: ") && error.contains(fault), "{error}");
    }
}

#[test]
fn answers_in_single_bytes_are_put_together() {
    let server = |server: &mut Server| {
        let (socket, ours) = UnixStream::pair().unwrap();
        let real = std::mem::replace(&mut server.socket, ours);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut from = &socket;
                let mut byte = [0];
                while from.read(&mut byte).unwrap() == 1 {
                    (&real).write_all(&byte).unwrap();
                }
                drop(real.shutdown(std::net::Shutdown::Write));
            });
            scope.spawn(|| {
                std::io::copy(&mut &real, &mut &socket).unwrap();
                drop(socket.shutdown(std::net::Shutdown::Write));
            });
            server.greet();
            let call = server.start();
            server.job(&call);
            server.removed(None, JOB, SCOPE, "done");
            assert!(server.is_left());
            drop(server.socket.shutdown(std::net::Shutdown::Both));
        });
    };
    start(Peer::Bus, server).unwrap();
}

#[test]
fn a_silent_bus_does_not_hold_us_for_ever() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let bus = Connection::over(ours, "/test/bus".into());
    let error = Systemd::over(bus, Peer::Bus, Manager::System, Duration::from_millis(20)).err().unwrap();
    assert_eq!(error.to_string(), "systemd bus at /test/bus: no answer in time: connection timed out");
    drop(theirs);
}

#[test]
fn an_absent_bus_is_told_with_its_address() {
    let address = super::super::address::Address::Path("/nonexistent/bus".into());
    let error = Systemd::by(&Route { address, peer: Peer::Bus }, Manager::System).err().unwrap();
    assert_eq!(
        error.to_string(),
        "no systemd bus at /nonexistent/bus: connect(AF_UNIX, \"/nonexistent/bus\"): no such file or directory"
    );
}

#[test]
fn a_scope_is_stopped_and_forgotten() {
    let stop = |server: fn(&mut Server)| converse(Peer::Bus, server, |systemd| systemd.unwrap().stop_scope(SCOPE));
    stop(|server| {
        server.greet();
        let watch = server.next("AddMatch");
        server.answer(&watch, vec![]);
        let call = server.next("StopUnit");
        assert_eq!(call.body, [Value::from(SCOPE), Value::from("replace")]);
        server.job(&call);
        server.removed(None, JOB, SCOPE, "done");
        let reset = server.next("ResetFailedUnit");
        server.refuse(&reset, "org.freedesktop.systemd1.NoSuchUnit", "not loaded");
    })
    .unwrap();
    stop(|server| {
        server.greet();
        let watch = server.next("AddMatch");
        server.answer(&watch, vec![]);
        let call = server.next("StopUnit");
        server.refuse(&call, "org.freedesktop.systemd1.NoSuchUnit", "Unit rruntime-c.scope not loaded.");
    })
    .unwrap();
}

#[test]
fn a_running_unit_is_changed_and_frozen() {
    let server = |server: &mut Server| {
        server.greet();
        let call = server.next("SetUnitProperties");
        let list = Value::Array("(sv)".into(), vec![Property::u64("MemoryMax", 5).to_value()]);
        assert_eq!(call.body, [Value::from(SCOPE), Value::Bool(true), list]);
        server.answer(&call, vec![]);
        for method in ["FreezeUnit", "ThawUnit"] {
            let call = server.next(method);
            assert_eq!(call.body, [Value::from(SCOPE)]);
            server.answer(&call, vec![]);
        }
        let call = server.next("FreezeUnit");
        server.refuse(&call, "org.freedesktop.DBus.Error.UnknownMethod", "Unknown method");
    };
    converse(Peer::Bus, server, |systemd| {
        let mut systemd = systemd.unwrap();
        systemd.set_properties(SCOPE, &[]).unwrap();
        systemd.set_properties(SCOPE, &[Property::u64("MemoryMax", 5)]).unwrap();
        systemd.freeze(SCOPE).unwrap();
        systemd.thaw(SCOPE).unwrap();
        assert!(systemd.freeze(SCOPE).unwrap_err().to_string().starts_with("freeze rruntime-c.scope: "));
    });
}

#[test]
fn versions_are_read_as_distributions_write_them() {
    for (text, version) in [("252.38-1~deb12u1", 252), ("v245.4-1.fc32", 245), ("257~rc1", 257), ("239", 239), ("x", 0)]
    {
        assert_eq!(major_version(text), version, "{text}");
    }
}

mod daemon;
mod real;
