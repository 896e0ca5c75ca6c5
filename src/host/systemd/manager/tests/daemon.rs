//! The same client over a real dbus-daemon, with a scripted manager behind it: authentication, names, the match
//! rule, the senders that the bus vouches for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::super::super::address::Address;
use super::*;

/// A private bus that ends with the test.
struct Daemon {
    child: Child,
    address: Address,
    dir: std::path::PathBuf,
}

impl Daemon {
    fn start(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rruntime-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("bus");
        let config = dir.join("config");
        let policy = r#"<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>"#;
        let listen = format!("<listen>unix:path={}</listen><auth>EXTERNAL</auth>", socket.display());
        std::fs::write(&config, format!("<busconfig>{listen}{policy}</busconfig>")).unwrap();
        let mut child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon, from Debian's package of that name, is needed for this test");
        // The address is printed once the bus listens.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("unix:path="), "dbus-daemon did not come up: {line:?}");
        Self { child, address: Address::Path(socket), dir }
    }

    fn open(&self) -> Connection {
        let mut bus = Connection::open(&self.address, Duration::from_secs(20)).unwrap();
        bus.allow(Duration::from_secs(20));
        bus
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Waits for the reply to a call; the messages on the way are dropped.
fn reply(bus: &mut Connection, call: Message) -> Message {
    let serial = bus.queue(call);
    loop {
        let message = bus.receive().unwrap();
        if message.reply_to == Some(serial) {
            assert_eq!(message.kind, Kind::Return, "{message:?}");
            return message;
        }
    }
}

/// Waits for a call of this member.
fn called(bus: &mut Connection, member: &str) -> Message {
    loop {
        let message = bus.receive().unwrap();
        if message.kind == Kind::Call {
            assert_eq!(message.member.as_deref(), Some(member));
            return message;
        }
    }
}

fn answer(bus: &mut Connection, call: &Message, body: Vec<Value>) {
    let destination = call.sender.clone();
    bus.queue(Message { reply_to: Some(call.serial), destination, body, ..Message::empty(Kind::Return) });
}

fn removed(destination: Option<String>, unit: &str, result: &str) -> Message {
    let body = vec![Value::UInt32(77), Value::Path(JOB.into()), Value::from(unit), Value::from(result)];
    Message { kind: Kind::Signal, destination, ..Message::call("", SYSTEMD_PATH, MANAGER, "JobRemoved", body) }
}

/// Takes the manager's name on a bus.
fn manager_on(bus: &mut Connection) {
    reply(bus, to_bus("Hello", vec![]));
    let name = vec![Value::from(SYSTEMD), Value::UInt32(0)];
    assert_eq!(reply(bus, to_bus("RequestName", name)).body, [Value::UInt32(1)]);
}

#[test]
fn a_scope_starts_over_a_real_bus() {
    let daemon = Daemon::start("scope");
    let mut manager = daemon.open();
    manager_on(&mut manager);
    let mut stranger = daemon.open();
    reply(&mut stranger, to_bus("Hello", vec![]));
    thread::scope(|threads| {
        threads.spawn(|| {
            for value in ["254", "/user.slice/user@7.service"] {
                let get = called(&mut manager, "Get");
                answer(&mut manager, &get, vec![Value::Variant(Box::new(Value::from(value)))]);
            }
            let call = called(&mut manager, "StartTransientUnit");
            // A lie in the manager's name, sent straight to the client, and on the bus before the truth is.
            stranger.queue(removed(call.sender.clone(), SCOPE, "done"));
            reply(&mut stranger, to_bus("GetId", vec![]));
            answer(&mut manager, &call, vec![Value::Path(JOB.into())]);
            manager.queue(removed(None, "other.scope", "done"));
            manager.queue(removed(None, SCOPE, "canceled"));
            let reset = called(&mut manager, "ResetFailedUnit");
            answer(&mut manager, &reset, vec![]);
            // So that the last answer leaves.
            reply(&mut manager, to_bus("GetId", vec![]));
        });
        let bus = daemon.open();
        let mut systemd = Systemd::over(bus, Peer::Bus, Manager::User, Duration::from_secs(20)).unwrap();
        let facts = systemd.facts(Controllers::V2);
        assert_eq!((facts.version, facts.control_group.as_str()), (254, "/user.slice/user@7.service"));
        let error = systemd.start_scope(&scope(), 42).unwrap_err().to_string();
        assert!(error.contains("\"canceled\" (look into journalctl --user -u"), "{error}");
    });
}

#[test]
fn a_bus_without_a_manager_is_told() {
    let daemon = Daemon::start("none");
    let route = Route { address: daemon.address.clone(), peer: Peer::Bus };
    let error = Systemd::by(&route, Manager::User).err().unwrap().to_string();
    assert!(
        error.contains("org.freedesktop.DBus.Error.") && error.contains("no systemd manager is on this bus"),
        "{error}"
    );
}
