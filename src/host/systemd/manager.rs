//! The conversation with a systemd manager: the effects of this room.
//!
//! Enters: what to start, change or stop. Leaves: that it is done, or why not. One blocking connection in the
//! runtime's process, no thread; what comes from the bus counts only where the bus vouches that the manager sent it.
//! Source: org.freedesktop.systemd1(5).

use std::time::Duration;

use super::address::{Manager, Peer, Route, routes};
use super::connection::Connection;
use super::message::{Kind, Message};
use super::property::Property;
use super::wire::Value;
use super::{Controllers, Facts, Scope};
use crate::error::{Error, Result};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// How long one step may take. systemd answers in milliseconds; it may be late while it boots or reloads.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An open conversation with a manager.
pub struct Systemd {
    bus: Connection,
    peer: Peer,
    manager: Manager,
    timeout: Duration,
    /// The manager's unique name on the bus; none where it is at the other end itself.
    name: Option<String>,
    version: u32,
    control_group: String,
    /// Calls whose replies are still to come.
    outstanding: Vec<u32>,
    /// The unit whose jobs we want to hear of.
    watched: String,
    /// Replies and ends of jobs that came before we looked for them.
    inbox: Vec<Message>,
}

/// An error that the bus or the manager answered with.
struct Refusal {
    name: String,
    text: String,
}

impl Systemd {
    /// Connects to a manager by the first way that works, and asks for its version and place.
    pub fn connect(manager: Manager) -> Result<Self> {
        let mut failures: Option<Error> = None;
        for route in routes(manager, |name| std::env::var_os(name))? {
            match Self::by(&route, manager) {
                Ok(systemd) => return Ok(systemd),
                Err(error) => failures = Some(failures.map_or(error.clone(), |first| first.and(error))),
            }
        }
        // There is a route at least, so there was a failure.
        Err(failures.unwrap_or_default().hint("is systemd running? use --cgroup-manager cgroupfs"))
    }

    fn by(route: &Route, manager: Manager) -> Result<Self> {
        let bus = Connection::open(&route.address, TIMEOUT)
            .map_err(|error| error.wrap(format!("no systemd bus at {}", route.address)))?;
        Self::over(bus, route.peer, manager, TIMEOUT)
    }

    /// Begins a conversation: handshake, name and questions leave in one write.
    fn over(bus: Connection, peer: Peer, manager: Manager, timeout: Duration) -> Result<Self> {
        let (outstanding, inbox) = (Vec::new(), Vec::new());
        let (version, control_group, watched) = (0, String::new(), String::new());
        let mut own =
            Self { bus, peer, manager, timeout, name: None, version, control_group, outstanding, watched, inbox };
        own.bus.allow(timeout);
        let hello = (peer == Peer::Bus).then(|| own.queue(to_bus("Hello", vec![])));
        let version = own.queue(get("Version"));
        let control_group = own.queue(get("ControlGroup"));
        if let Some(hello) = hello {
            own.expect(hello, "Hello")?;
        }
        let answer = own.expect(version, "Get(Version)")?;
        own.name.clone_from(&answer.sender);
        own.version = variant_text(&answer).map_or(0, major_version);
        let answer = own.expect(control_group, "Get(ControlGroup)")?;
        let group = variant_text(&answer).unwrap_or_default();
        own.control_group = group.trim_end_matches('/').to_owned();
        Ok(own)
    }

    /// The manager's major version, like 252; 0 where it tells none, so that only what all versions know is used.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What planning has to know, with where the host has its controllers.
    pub fn facts(&self, controllers: Controllers) -> Facts {
        Facts { manager: self.manager, version: self.version, control_group: self.control_group.clone(), controllers }
    }

    /// Makes a scope with one process in it, and waits until the process is there.
    pub fn start_scope(&mut self, scope: &Scope, pid: u32) -> Result<()> {
        let name = scope.unit.name.as_str();
        self.start(scope, pid).map_err(|error| error.wrap(format!("start {name} in {}", scope.unit.slice)))
    }

    fn start(&mut self, scope: &Scope, pid: u32) -> Result<()> {
        let name = scope.unit.name.as_str();
        let watching = self.watch(name);
        let mut call = self.queue(start_call(scope, pid));
        if let Some(watching) = watching {
            self.expect(watching, "AddMatch")?;
        }
        let mut answer = self.reply(call)?;
        if answer.as_ref().is_err_and(|refusal| refusal.is("UnitExists")) {
            // A scope that failed stays under its name until somebody has looked at it. A live one is left alone.
            self.reset_failed(name)?;
            call = self.queue(start_call(scope, pid));
            answer = self.reply(call)?;
        }
        let job = answer.map_err(|refusal| match refusal.is("UnitExists") {
            true => Error::new(format!("a unit of this name exists already: {}", refusal.told()))
                .hint(format!("look at it with systemctl{} status {name}", self.flag())),
            false => self.refused("StartTransientUnit", &refusal),
        })?;
        match self.job_result(&job)?.as_str() {
            "done" => Ok(()),
            result => {
                let error = Error::new(format!("systemd ended the job with {result:?}"))
                    .hint(format!("look into journalctl{} -u {name}", self.flag()));
                Err(match self.reset_failed(name) {
                    Ok(()) => error,
                    Err(further) => error.and(further),
                })
            }
        }
    }

    /// Changes properties of a running unit, until the next boot.
    pub fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        // True is runtime: written to /run, not /etc.
        let body = vec![Value::from(unit), Value::Bool(true), property_list(properties)];
        self.call("SetUnitProperties", body).map_err(|error| error.wrap(format!("set properties of {unit}")))
    }

    /// Freezes all processes of a unit (v2 only, since systemd 246) and waits until they are.
    pub fn freeze(&mut self, unit: &str) -> Result<()> {
        self.call("FreezeUnit", vec![Value::from(unit)]).map_err(|error| error.wrap(format!("freeze {unit}")))
    }

    /// Undoes [`Self::freeze`].
    pub fn thaw(&mut self, unit: &str) -> Result<()> {
        self.call("ThawUnit", vec![Value::from(unit)]).map_err(|error| error.wrap(format!("thaw {unit}")))
    }

    /// Stops a scope, waits until it is, and makes systemd forget it. A scope that is not there is stopped.
    pub fn stop_scope(&mut self, name: &str) -> Result<()> {
        self.stop(name).map_err(|error| error.wrap(format!("stop {name}")))
    }

    fn stop(&mut self, name: &str) -> Result<()> {
        let watching = self.watch(name);
        let call = self.queue(to_manager("StopUnit", vec![Value::from(name), Value::from("replace")]));
        if let Some(watching) = watching {
            self.expect(watching, "AddMatch")?;
        }
        let job = match self.reply(call)? {
            Ok(job) => job,
            // An empty scope ends by itself, most often before we come here.
            Err(refusal) if refusal.is("NoSuchUnit") => return Ok(()),
            Err(refusal) => return Err(self.refused("StopUnit", &refusal)),
        };
        // Cancelled or failed: what counts is in the cgroup, which the caller removes and sees.
        self.job_result(&job)?;
        self.reset_failed(name)
    }

    /// Makes systemd forget that a unit failed, where it did.
    fn reset_failed(&mut self, name: &str) -> Result<()> {
        let call = self.queue(to_manager("ResetFailedUnit", vec![Value::from(name)]));
        // A refusal says that there is no such unit any more, which is what we want.
        self.reply(call).map(drop)
    }

    /// Asks for the ends of a unit's jobs; a manager at the other end of the socket tells them unasked. They come to
    /// whoever made the job, so that Subscribe, for all signals to everybody, is not needed.
    fn watch(&mut self, name: &str) -> Option<u32> {
        self.bus.allow(self.timeout);
        self.watched = name.to_owned();
        let rule = format!(
            "type='signal',sender='{SYSTEMD}',path='{SYSTEMD_PATH}',interface='{MANAGER}',member='JobRemoved',arg2='{name}'"
        );
        (self.peer == Peer::Bus).then(|| self.queue(to_bus("AddMatch", vec![Value::Str(rule)])))
    }

    /// Waits for the end of the job that a call's answer names; gives its result.
    fn job_result(&mut self, answer: &Message) -> Result<String> {
        let Some(job) = answer.text(0) else {
            return Err(self.bus.fault(Error::new("the answer names no job")));
        };
        // JobRemoved(u id, o job, s unit, s result)
        loop {
            if let Some(signal) = self.inbox.iter().find(|m| m.kind == Kind::Signal && m.text(1) == Some(job)) {
                return Ok(signal.text(3).unwrap_or_default().to_owned());
            }
            self.listen()?;
        }
    }

    /// A call whose answer holds nothing.
    fn call(&mut self, method: &'static str, body: Vec<Value>) -> Result<()> {
        self.bus.allow(self.timeout);
        let call = self.queue(to_manager(method, body));
        self.expect(call, method).map(drop)
    }

    fn queue(&mut self, message: Message) -> u32 {
        let serial = self.bus.queue(message);
        self.outstanding.push(serial);
        serial
    }

    /// The reply to a call, which must be no error.
    fn expect(&mut self, serial: u32, method: &str) -> Result<Message> {
        self.reply(serial)?.map_err(|refusal| self.refused(method, &refusal))
    }

    /// The reply to a call.
    fn reply(&mut self, serial: u32) -> Result<Result<Message, Refusal>> {
        loop {
            if let Some(place) = self.inbox.iter().position(|m| m.reply_to == Some(serial)) {
                let message = self.inbox.swap_remove(place);
                return Ok(match message.kind {
                    Kind::Error => Err(Refusal {
                        text: message.text(0).unwrap_or_default().to_owned(),
                        name: message.error_name.unwrap_or_default(),
                    }),
                    _ => Ok(message),
                });
            }
            self.listen()?;
        }
    }

    /// Takes the next message, and keeps it where it is for us: a reply to one of our calls, or the manager's own
    /// word about the watched unit. Others on the system bus may send us signals too.
    fn listen(&mut self) -> Result<()> {
        let message = self.bus.receive()?;
        let keep = match message.kind {
            Kind::Return | Kind::Error => {
                let place = self.outstanding.iter().position(|&serial| message.reply_to == Some(serial));
                place.map(|place| self.outstanding.swap_remove(place)).is_some()
            }
            Kind::Signal => {
                message.member.as_deref() == Some("JobRemoved")
                    && message.interface.as_deref() == Some(MANAGER)
                    && message.sender == self.name
                    && message.text(2) == Some(self.watched.as_str())
            }
            Kind::Call | Kind::Unknown(_) => false,
        };
        if keep {
            self.inbox.push(message);
        }
        Ok(())
    }

    fn refused(&self, method: &str, refusal: &Refusal) -> Error {
        let error = self.bus.fault(Error::new(format!("{method}: {}", refusal.told())));
        let none = ["ServiceUnknown", "NameHasNoOwner"];
        let denied = ["AccessDenied", "InteractiveAuthorizationRequired"];
        if none.iter().any(|name| refusal.is(name)) {
            error.hint("no systemd manager is on this bus; use --cgroup-manager cgroupfs")
        } else if denied.iter().any(|name| refusal.is(name)) && self.manager == Manager::System {
            error.hint("the system manager takes orders from root only")
        } else if refusal.is("PropertyReadOnly") {
            error.hint("do the org.systemd.property annotations name properties that this systemd knows for scopes?")
        } else {
            error
        }
    }

    /// The option that systemctl and journalctl need for this manager.
    fn flag(&self) -> &'static str {
        match self.manager {
            Manager::System => "",
            Manager::User => " --user",
        }
    }
}

impl Refusal {
    /// True for an error whose name ends with this.
    fn is(&self, last: &str) -> bool {
        self.name.rsplit('.').next() == Some(last)
    }

    fn told(&self) -> String {
        format!("{:?} ({})", self.text, self.name)
    }
}

fn to_manager(method: &str, body: Vec<Value>) -> Message {
    Message::call(SYSTEMD, SYSTEMD_PATH, MANAGER, method, body)
}

fn to_bus(method: &str, body: Vec<Value>) -> Message {
    Message::call(BUS, BUS_PATH, BUS, method, body)
}

/// Reads one of the manager's properties.
fn get(name: &str) -> Message {
    let body = vec![Value::from(MANAGER), Value::from(name)];
    Message::call(SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Properties", "Get", body)
}

/// StartTransientUnit(s name, s mode, a(sv) properties, a(sa(sv)) auxiliary units). `replace` as all runtimes have
/// it: a slice that was just about to be stopped, being empty, stays.
fn start_call(scope: &Scope, pid: u32) -> Message {
    let mut properties = scope.properties.clone();
    properties.push(Property::new("PIDs", Value::Array("u".into(), vec![Value::UInt32(pid)])));
    let auxiliary = Value::Array("(sa(sv))".into(), Vec::new());
    let body =
        vec![Value::from(scope.unit.name.as_str()), Value::from("replace"), property_list(&properties), auxiliary];
    to_manager("StartTransientUnit", body)
}

fn property_list(properties: &[Property]) -> Value {
    Value::Array("(sv)".into(), properties.iter().map(Property::to_value).collect())
}

/// The text in the variant that a property's reading gives.
fn variant_text(answer: &Message) -> Option<&str> {
    match answer.body.first() {
        Some(Value::Variant(inner)) => inner.as_str(),
        _ => None,
    }
}

/// `252` of `252.38-1~deb12u1`, `v245.4` or `257~rc1`.
fn major_version(text: &str) -> u32 {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
