//! Who may have a seat, and who gives way: a pure core.
//!
//! There are so many seats in all and so many for one address. One in eight is for identities that
//! are known, those that the server knew before they came: identities are free for whoever has the
//! secret, so one host could take all seats, and a client that was cut off would not get in again.
//!
//! A known identity that finds no seat takes that of one that is not known: of its own address if
//! that has as many as it may, else of the address that has most such seats. If there is none, it
//! takes one from the address that has most seats of all, unless its own would then have as many
//! (max-min fairness). Whoever was last to come gives way first.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::event::neighbourhood;
use crate::groups::{Group, Groups};

/// One in so many seats is for known identities.
const FOR_KNOWN: usize = 8;

/// How many seats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatLimits {
    /// In all.
    pub total: usize,
    /// For one address; an IPv6 /64 counts as one.
    pub per_address: usize,
}

/// Whether the server knew an identity before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It did.
    Known,
    /// It did not.
    New,
}

/// Who holds a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    address: IpAddr,
    standing: Standing,
}

impl Holder {
    /// A client of this standing at this address.
    pub fn new(address: IpAddr, standing: Standing) -> Self {
        Self {
            address: neighbourhood(address),
            standing,
        }
    }
}

/// What there is no seat in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All that one address may have.
    Address,
    /// All there are for such an identity.
    Server,
}

/// Who sits where, by number. Numbers grow.
#[derive(Debug)]
pub struct Seating {
    limits: SeatLimits,
    holders: HashMap<u64, Holder>,
    /// All seats by address.
    taken: Groups<IpAddr>,
    /// Those of identities that are new.
    new: Groups<IpAddr>,
    new_in_all: usize,
}

impl Seating {
    /// So many seats, all of them free.
    pub fn new(limits: SeatLimits) -> Self {
        Self {
            limits,
            holders: HashMap::new(),
            taken: Groups::default(),
            new: Groups::default(),
            new_in_all: 0,
        }
    }

    /// Gives seat `number` to somebody, in place of a `former` seat of theirs if there is one. Says
    /// which seat was taken away for it; if there is none, nothing changes.
    pub fn take(
        &mut self,
        number: u64,
        holder: Holder,
        former: Option<u64>,
    ) -> Result<Option<u64>, Full> {
        let before = former.and_then(|former| Some((former, self.leave(former)?)));
        let decided = self.decide(holder);
        match decided {
            Ok(loser) => {
                loser.and_then(|loser| self.leave(loser));
                self.sit(number, holder);
            }
            Err(_) => {
                if let Some((former, holder)) = before {
                    self.sit(former, holder);
                }
            }
        }
        decided
    }

    /// Frees a seat, and says who had it.
    pub fn leave(&mut self, number: u64) -> Option<Holder> {
        let holder = self.holders.remove(&number)?;
        self.taken.remove(holder.address, number);
        if holder.standing == Standing::New {
            self.new.remove(holder.address, number);
            self.new_in_all -= 1;
        }
        Some(holder)
    }

    /// How many seats are taken.
    pub fn count(&self) -> usize {
        self.holders.len()
    }

    /// The address with most seats.
    pub fn most(&self) -> Option<Group<IpAddr>> {
        self.taken.largest()
    }

    fn sit(&mut self, number: u64, holder: Holder) {
        self.taken.insert(holder.address, number);
        if holder.standing == Standing::New {
            self.new.insert(holder.address, number);
            self.new_in_all += 1;
        }
        self.holders.insert(number, holder);
    }

    fn decide(&self, holder: Holder) -> Result<Option<u64>, Full> {
        let SeatLimits { total, per_address } = self.limits;
        let at_home = self.taken.size(holder.address);
        match holder.standing {
            Standing::New => {
                let for_new = total - total / FOR_KNOWN;
                if self.count() >= total || self.new_in_all >= for_new {
                    Err(Full::Server)
                } else if at_home >= per_address {
                    Err(Full::Address)
                } else {
                    Ok(None)
                }
            }
            Standing::Known if at_home >= per_address => {
                let newest = self.new.newest(holder.address);
                newest.map(Some).ok_or(Full::Address)
            }
            Standing::Known if self.count() < total => Ok(None),
            Standing::Known => {
                let fairer = |most: &Group<IpAddr>| at_home + 1 < most.size;
                let loser = self.new.largest();
                let loser = loser.or_else(|| self.taken.largest().filter(fairer));
                loser.map(|most| Some(most.newest)).ok_or(Full::Server)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn holder(host: u8, standing: Standing) -> Holder {
        Holder::new([192, 0, 2, host].into(), standing)
    }

    fn seating(total: usize, per_address: usize) -> Seating {
        Seating::new(SeatLimits { total, per_address })
    }

    #[test]
    fn one_address_has_its_share_and_new_identities_leave_an_eighth_to_known_ones() {
        let mut seats = seating(16, 10);
        for number in 0..10 {
            assert_eq!(seats.take(number, holder(1, Standing::New), None), Ok(None));
        }
        let more = holder(1, Standing::New);
        assert_eq!(seats.take(10, more, None), Err(Full::Address));
        for number in 10..14 {
            assert_eq!(seats.take(number, holder(2, Standing::New), None), Ok(None));
        }
        let stranger = holder(3, Standing::New);
        assert_eq!(seats.take(14, stranger, None), Err(Full::Server));
        for number in 14..16 {
            let known = holder(3, Standing::Known);
            assert_eq!(seats.take(number, known, None), Ok(None));
        }
    }

    #[test]
    fn a_known_identity_takes_the_newest_seat_of_the_address_with_most_new_ones() {
        let mut seats = seating(4, 4);
        seats.take(0, holder(1, Standing::New), None).unwrap();
        seats.take(1, holder(2, Standing::New), None).unwrap();
        seats.take(2, holder(2, Standing::New), None).unwrap();
        seats.take(3, holder(3, Standing::Known), None).unwrap();
        let known = holder(3, Standing::Known);
        assert_eq!(seats.take(4, known, None), Ok(Some(2)));
        assert_eq!(seats.take(5, known, None), Ok(Some(0)));
        assert_eq!(seats.take(6, known, None), Ok(Some(1)));
        assert_eq!(seats.take(7, known, None), Err(Full::Address));
        // One address has all of them now, and gives way until they are shared evenly.
        let other = holder(4, Standing::Known);
        assert_eq!(seats.take(8, other, None), Ok(Some(6)));
        assert_eq!(seats.take(9, other, None), Ok(Some(5)));
        assert_eq!(seats.take(10, other, None), Err(Full::Server));
    }

    #[test]
    fn behind_one_address_known_identities_take_the_seats_of_new_ones() {
        let mut seats = seating(16, 2);
        seats.take(0, holder(1, Standing::New), None).unwrap();
        seats.take(1, holder(1, Standing::New), None).unwrap();
        let known = holder(1, Standing::Known);
        assert_eq!(seats.take(2, known, None), Ok(Some(1)));
    }

    #[test]
    fn whoever_moves_needs_a_seat_where_it_goes_and_keeps_its_own_if_there_is_none() {
        let mut seats = seating(16, 1);
        let (here, there) = (holder(1, Standing::Known), holder(2, Standing::Known));
        seats.take(0, here, None).unwrap();
        seats.take(1, there, None).unwrap();
        assert_eq!(seats.take(2, there, Some(0)), Err(Full::Address));
        assert_eq!(seats.count(), 2);
        assert_eq!(seats.take(3, here, Some(0)), Ok(None));
        assert_eq!(seats.count(), 2);
    }

    proptest! {
        #[test]
        fn whatever_new_identities_do_a_known_one_gets_in_unless_its_address_has_its_share(
            steps in prop::collection::vec((0..8_u8, 0..4_u8, any::<bool>(), any::<u64>()), 1..300)
        ) {
            const LIMITS: SeatLimits = SeatLimits { total: 24, per_address: 5 };
            let mut seats = Seating::new(LIMITS);
            let mut model = BTreeMap::<u64, Holder>::new();
            for (number, (host, kind, leaves, pick)) in (0..).zip(steps) {
                let nth = usize::try_from(pick % 1000).unwrap() % model.len().max(1);
                if leaves {
                    let gone = model.keys().nth(nth).copied();
                    let left = gone.and_then(|gone| seats.leave(gone));
                    prop_assert_eq!(left, gone.and_then(|gone| model.remove(&gone)));
                    continue;
                }
                let standing = if kind == 0 { Standing::Known } else { Standing::New };
                let comes = holder(host, standing);
                let at_home = model.values().filter(|it| it.address == comes.address);
                let at_home: Vec<_> = at_home.copied().collect();
                let new = model.values().filter(|it| it.standing == Standing::New).count();
                match seats.take(number, comes, None) {
                    Ok(loser) => {
                        let lost = loser.map(|loser| model.remove(&loser).unwrap());
                        let needed = model.len() == LIMITS.total - 1
                            || at_home.len() == LIMITS.per_address;
                        prop_assert!(lost.is_none() || needed && standing == Standing::Known);
                        if let Some(lost) = lost {
                            prop_assert!(lost.standing == Standing::New || new == 0);
                        }
                        model.insert(number, comes);
                    }
                    Err(Full::Address) if standing == Standing::Known => {
                        let known = |it: &Holder| it.standing == Standing::Known;
                        prop_assert!(at_home.iter().all(known));
                        prop_assert_eq!(at_home.len(), LIMITS.per_address);
                    }
                    Err(Full::Server) if standing == Standing::Known => {
                        prop_assert_eq!((new, model.len()), (0, LIMITS.total));
                    }
                    Err(_) => {}
                }
                prop_assert!(model.len() <= LIMITS.total);
                prop_assert_eq!(seats.count(), model.len());
            }
        }
    }
}
