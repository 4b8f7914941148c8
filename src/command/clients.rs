//! `vft clients`: the fleet as a server has stored it, and what is to be done about a client.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::records::{ClientsArgs, ClientsCommand};
use crate::clock;
use crate::command::print;
use crate::command::records::{Names, folder, lines, open};
use crate::config::server::Format;
use crate::event::{ClientId, Timestamp};
use crate::exit::{Failure, Kind};
use crate::server::store::FILE;
use crate::server::store::orders::{self, What};
use crate::server::store::reader::{Blocked, Reader, StoredClient};

/// A server that runs does what it is told within this.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(50);

/// Lists clients, or has one forgotten, blocked or unblocked.
pub fn run(args: &ClientsArgs) -> Result<(), Failure> {
    let reader = open(&args.store)?;
    let (client, what) = match &args.command {
        None => return list(&reader, args.format),
        Some(ClientsCommand::Forget { client }) => (find(&reader, client)?, What::Forget),
        Some(ClientsCommand::Block { id }) => (id_of(id)?, What::Block),
        Some(ClientsCommand::Unblock { id }) => (blocked(&reader, id)?, What::Unblock),
    };
    drop(reader);
    let outcome = order(&folder(&args.store).join(FILE), client, what)?;
    print(&match args.format {
        Format::Text => text(client, what, outcome),
        Format::Json => {
            let done = outcome == Outcome::Done;
            let (id, what) = (client.to_string(), what.name());
            json!({"id": id, "order": what, "done": done}).to_string() + "\n"
        }
    })
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Noted,
}

fn order(store: &Path, client: ClientId, what: What) -> Result<Outcome, Failure> {
    let number = orders::give(store, client, what)?;
    let deadline = clock::monotonic() + PATIENCE;
    while clock::monotonic() < deadline {
        if !orders::is_pending(store, number)? {
            return Ok(Outcome::Done);
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(Outcome::Noted)
}

fn text(client: ClientId, what: What, outcome: Outcome) -> String {
    let done = match what {
        What::Forget => "is forgotten",
        What::Block => "is blocked",
        What::Unblock => "may come again",
    };
    match outcome {
        Outcome::Done => format!("client {client} {done}\n"),
        Outcome::Noted => {
            format!("client {client} {done} when the server starts next: it does not seem to run\n")
        }
    }
}

/// The client with this id, or else the only one with this name.
fn find(reader: &Reader, text: &str) -> Result<ClientId, Failure> {
    let clients = reader.clients()?;
    let id = id_of(text).ok();
    if let Some(client) = clients.iter().find(|client| Some(client.id) == id) {
        return Ok(client.id);
    }
    let mut named = clients.iter().filter(|client| client.name == text);
    match (named.next(), named.next()) {
        (None, _) => {
            let what = format!("there is no client `{text}`");
            Err(Failure::new(Kind::Runtime, what).hint("`vft clients` lists them"))
        }
        (Some(client), None) => Ok(client.id),
        (Some(_), Some(_)) => {
            let ids = clients.iter().filter(|client| client.name == text);
            let mut ids: Vec<_> = ids.map(|client| client.id.to_string()).collect();
            ids.sort_unstable();
            let what = format!(
                "{} clients have the name `{text}`: {}",
                ids.len(),
                ids.join(", ")
            );
            Err(Failure::new(Kind::Runtime, what).hint("say which one by its id"))
        }
    }
}

fn id_of(text: &str) -> Result<ClientId, Failure> {
    let number = u128::from_str_radix(text, 16).ok();
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = number.filter(|_| digits).map(u128::to_be_bytes);
    id.map(ClientId).ok_or_else(|| {
        let what = format!("`{text}` is not a client's id, which has 32 hexadecimal digits");
        Failure::new(Kind::Usage, what).hint("`vft clients` shows each client's id")
    })
}

/// The client with this id, if it is blocked.
fn blocked(reader: &Reader, text: &str) -> Result<ClientId, Failure> {
    let id = id_of(text)?;
    let blocked = reader.blocked()?;
    if blocked.iter().any(|it| it.id == id) {
        return Ok(id);
    }
    let what = format!("client {id} is not blocked");
    Err(Failure::new(Kind::Runtime, what).hint("`vft clients` shows which ones are"))
}

/// Whether a client may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Open,
    Blocked,
}

fn list(reader: &Reader, format: Format) -> Result<(), Failure> {
    let (clients, blocked) = (reader.clients()?, reader.blocked()?);
    let ids: BTreeSet<_> = blocked.iter().map(|it| it.id).collect();
    let known: BTreeSet<_> = clients.iter().map(|it| it.id).collect();
    let access = |it: &StoredClient| {
        if ids.contains(&it.id) {
            Access::Blocked
        } else {
            Access::Open
        }
    };
    // Those that were blocked and are not known any more.
    let others = blocked.iter().filter(|it| !known.contains(&it.id));
    match format {
        Format::Json => {
            let objects = clients.iter().map(|it| object(it, access(it)));
            let all = objects.chain(others.map(bare_object));
            print(&lines(all.map(|object| object.to_string())))
        }
        Format::Text if clients.is_empty() && blocked.is_empty() => print("no clients\n"),
        Format::Text => {
            let now = Timestamp::from(clock::wall());
            let header = format!("{HEADER}  {:<39}  ID", "ADDRESS");
            let names = Names::of(reader)?;
            let rows = clients.iter().map(|it| {
                let name = names.shown(it.id, &it.name);
                row(it, &name, access(it), now)
            });
            let all = std::iter::once(header)
                .chain(rows)
                .chain(others.map(bare_row));
            print(&lines(all))
        }
    }
}

const HEADER: &str = "NAME                 LAST HEARD        TRAPS                            \
                      MISSING  DROPPED  BACKLOG  VERSION";

fn object(client: &StoredClient, access: Access) -> Value {
    let status = &client.status;
    json!({
        "id": client.id.to_string(),
        "name": client.name,
        "version": client.version,
        "address": client.address,
        "first_seen": client.first_seen.precise(),
        "last_seen": client.last_seen.precise(),
        "stopped": client.farewell,
        "progress": client.progress,
        "missing": client.missing,
        "refused": client.refused,
        "traps": status.traps,
        "traps_wanted": status.traps_wanted,
        "backlog": status.backlog,
        "dropped": status.dropped,
        "clock_offset_seconds": status.clock_offset / 1_000_000,
        "unwritable": client.status.unwritable,
        "blocked": access == Access::Blocked,
    })
}

fn bare_object(blocked: &Blocked) -> Value {
    json!({"id": blocked.id.to_string(), "name": blocked.name, "blocked": true})
}

fn row(client: &StoredClient, name: &str, access: Access, now: Timestamp) -> String {
    let status = &client.status;
    let ago =
        humantime::format_duration(Duration::from_secs(now.since(client.last_seen).as_secs()));
    let heard = match (access, client.farewell) {
        (Access::Blocked, _) => "blocked".to_owned(),
        (Access::Open, true) => "stopped".to_owned(),
        (Access::Open, false) => format!("{ago} ago"),
    };
    let note = if client.status.unwritable {
        "  cannot write its spool"
    } else {
        ""
    };
    format!(
        "{:<20} {:<17} {:<32} {:>7}  {:>7}  {:>7}  {:<7}  {:<39}  {}{note}",
        name,
        heard,
        ports(&status.traps),
        client.missing,
        status.dropped,
        status.backlog,
        client.version,
        client.address,
        client.id
    )
}

fn bare_row(blocked: &Blocked) -> String {
    format!(
        "{:<20} {:<17} {:<32} {:>7}  {:>7}  {:>7}  {:<7}  {:<39}  {}",
        blocked.name, "blocked", "", "", "", "", "", "", blocked.id
    )
}

/// Ports with blanks between.
fn ports(ports: &[u16]) -> String {
    let words: Vec<_> = ports.iter().map(u16::to_string).collect();
    words.join(" ")
}
