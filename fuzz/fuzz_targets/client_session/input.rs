//! What a fuzzer may have servers do.

use arbitrary::{Arbitrary, Unstructured};

#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    pub scene: Scene,
    pub traps: u8,
    pub visits: Vec<Visit<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Scene {
    pub guard: Guard,
    pub inflow: Inflow,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Nobody,
    Secret,
}

/// Whether more hits may come while a session runs. It takes a tenth of a second to see an idle
/// one to its end, so of all inputs only a few have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflow {
    Ended,
    Open,
}

impl<'a> Arbitrary<'a> for Inflow {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match input.arbitrary()? {
            u8::MAX => Self::Open,
            _ => Self::Ended,
        })
    }
}

/// One session.
#[derive(Arbitrary, Debug)]
pub struct Visit<'a> {
    /// Hits that have come since the last: mostly few.
    pub hits: u8,
    pub server: Server,
    pub challenge: Opening<'a>,
    pub welcome: Opening<'a>,
    pub known: Known,
    pub heartbeat: u64,
    pub answers: Vec<Answer<'a>>,
    pub then: Then,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    First,
    Second,
}

/// How the server says the next thing of its handshake: mostly as it should, or few inputs would get
/// to anything else.
#[derive(Clone, Copy, Debug)]
pub enum Opening<'a> {
    AsItShould,
    WithoutSecret,
    NotTheSecret,
    Otherwise(Answer<'a>),
}

impl<'a> Arbitrary<'a> for Opening<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match input.arbitrary()? {
            0..224_u8 => Self::AsItShould,
            224..232 => Self::WithoutSecret,
            232..240 => Self::NotTheSecret,
            240.. => Self::Otherwise(input.arbitrary()?),
        })
    }
}

/// How far it says that it has come with this client.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Known {
    Nothing,
    WhatItHas,
    About(i8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Answer<'a> {
    AsItShould,
    /// An acknowledgement of other numbers.
    Ack(Number, Number),
    /// To a report as to a heartbeat, or the other way round.
    Swapped,
    Refused(&'a str, u64),
    /// A frame with these bytes.
    Message(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    About(i8),
    Any(u64),
}

/// What becomes of the session when all answers are given.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on as it should.
    On,
    End,
}

/// The most sessions, and answers in one that are not as they should be, so that no input takes
/// long.
pub const MAX_VISITS: usize = 4;
pub const MAX_ANSWERS: usize = 12;
/// Likewise if every answer takes its time.
pub const MAX_OPEN: usize = 2;

/// Below this, few hits or traps are meant; above, a few more than there are in a report or in a
/// heartbeat, which takes its time.
pub const MANY: u8 = 252;

impl Visit<'_> {
    /// A server that does all as it should.
    pub const fn last() -> Self {
        Self {
            hits: 0,
            server: Server::First,
            challenge: Opening::AsItShould,
            welcome: Opening::AsItShould,
            known: Known::Nothing,
            heartbeat: 30_000,
            answers: Vec::new(),
            then: Then::On,
        }
    }
}
