//! Hits as the spool's records: as the wire has them, their time counted from the epoch.

use crate::client::spool::Record;
use crate::event::{Hit, Timestamp};
use crate::wire::message::{HitRecord, MessageError, decode, encode};

/// A hit as a record. A hit always encodes.
pub fn to_bytes(hit: &Hit) -> Result<Vec<u8>, MessageError> {
    encode(&HitRecord::new(hit, Timestamp::default()))
}

/// The hit in a record; `None` if it is damaged.
pub fn hit(record: &Record) -> Option<Hit> {
    let wire: HitRecord = decode(record.bytes.as_ref()?).ok()?;
    wire.hit(Timestamp::default()).ok()
}

/// How often what is in a record has happened.
pub fn hits_in(record: &Record) -> u64 {
    hit(record).map_or(1, |hit| hit.count.get().into())
}
