//! Which client a line means: names become ids.
//!
//! A client that is known by its name alone has the first 16 bytes of the name's SHA-256 as its
//! id, so it is the same in every file and every replay.

use std::collections::HashMap;
use std::rc::Rc;

use ring::digest::{SHA256, digest};

use crate::event::ClientId;
use crate::replay::record::Who;
use crate::sanitize;

/// The longest name, in characters: room for one of a client's with each character escaped.
const MAX_NAME: usize = 1024;

/// The clients of lines, up to a bound. They are only remembered for speed and to share names:
/// beyond the bound they are forgotten, and looked up anew.
#[derive(Debug)]
pub struct Clients {
    bound: usize,
    by_name: HashMap<Box<str>, (ClientId, Rc<str>)>,
    by_id: HashMap<ClientId, Rc<str>>,
}

impl Clients {
    /// Room for `bound` clients.
    pub fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// The id of the client that is meant, and its name, printable.
    pub fn find(&mut self, who: &Who<'_>) -> (ClientId, Rc<str>) {
        match who {
            Who::Known(id, name) => (*id, self.known(*id, name.as_deref())),
            Who::Named(name) => self.named(name),
        }
    }

    /// The name of the client with this id, which may be said along with it.
    fn known(&mut self, id: ClientId, name: Option<&str>) -> Rc<str> {
        if let Some(known) = self.by_id.get(&id) {
            if name.is_none_or(|name| *name == **known) {
                return Rc::clone(known);
            }
        }
        let name = match name.map(str::trim) {
            None | Some("") => Rc::from(id.to_string()),
            Some(name) => printable(name),
        };
        make_room(&mut self.by_id, self.bound);
        self.by_id.insert(id, Rc::clone(&name));
        name
    }

    fn named(&mut self, name: &str) -> (ClientId, Rc<str>) {
        if let Some((id, name)) = self.by_name.get(name) {
            return (*id, Rc::clone(name));
        }
        let found = (id_of(name.trim()), printable(name.trim()));
        make_room(&mut self.by_name, self.bound);
        self.by_name.insert(name.into(), found.clone());
        found
    }
}

fn make_room<K, V>(map: &mut HashMap<K, V>, bound: usize) {
    if map.len() >= bound {
        map.clear();
    }
}

fn printable(name: &str) -> Rc<str> {
    Rc::from(sanitize::line(name, MAX_NAME))
}

fn id_of(name: &str) -> ClientId {
    let hash = digest(&SHA256, name.as_bytes());
    let mut id = [0; 16];
    for (byte, hashed) in id.iter_mut().zip(hash.as_ref()) {
        *byte = *hashed;
    }
    ClientId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Who<'_> {
        Who::Named(name.into())
    }

    #[test]
    fn a_name_has_one_id_and_no_two_names_have_the_same() {
        let mut clients = Clients::new(2);
        let first = clients.find(&named("web-1"));
        // As `printf web-1 | sha256sum` has it.
        assert_eq!(first.0.to_string(), "c4719afa76fa448b5eca99e673688584");
        assert_ne!(clients.find(&named("web-2")).0, first.0);
        for other in 0..10 {
            clients.find(&named(&format!("other-{other}")));
        }
        assert_eq!(clients.find(&named(" web-1 ")), first);
    }

    #[test]
    fn names_are_made_printable_and_cut() {
        let mut clients = Clients::new(2);
        let (_, name) = clients.find(&named("web\u{1b}[2J"));
        assert_eq!(&*name, "web\\u{1b}[2J");
        let (_, name) = clients.find(&named(&"x".repeat(50_000)));
        assert_eq!(name.chars().count(), MAX_NAME + 1);
    }

    #[test]
    fn a_known_client_has_the_name_that_was_last_said() {
        let mut clients = Clients::new(2);
        let id = ClientId([7; 16]);
        let mut name = |name: Option<&'static str>| {
            let who = Who::Known(id, name.map(Into::into));
            clients.find(&who).1.to_string()
        };
        assert_eq!(name(None), id.to_string());
        assert_eq!(name(Some("web-1")), "web-1");
        assert_eq!(name(None), "web-1");
        assert_eq!(name(Some("web-2")), "web-2");
    }
}
