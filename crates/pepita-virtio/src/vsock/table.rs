//! [`Table`]: connections by place, by ports, and in the order in which they are served.

use std::collections::{HashMap, VecDeque};

use super::connection::{Connection, Ports};

/// The most connections, those included that are about to begin or to end.
pub(super) const CONNECTIONS_MAX: usize = 2048;

/// A connection's name, which no other ever has: its place, and how many were there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    place: u32,
    serial: u32,
}

impl Id {
    /// As one number, below 2⁶³.
    pub(super) fn to_number(self) -> u64 {
        u64::from(self.place) << 32 | u64::from(self.serial)
    }

    /// Its place: below [`CONNECTIONS_MAX`].
    pub(super) fn place(self) -> usize {
        usize::try_from(self.place).expect("a place is an index")
    }
}

#[derive(Debug, Default)]
struct Place {
    serial: u32,
    connection: Option<Connection>,
    /// Is in the order of those that may have something for the guest.
    is_queued: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_ports: HashMap<Ports, Id>,
    /// Places, each at most once, whoever is there when its turn comes.
    order: VecDeque<u32>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether another connection has a place.
    pub(super) fn has_room(&self) -> bool {
        self.len() < CONNECTIONS_MAX
    }

    /// Adds a connection, if there is room and its ports are free.
    pub(super) fn insert(&mut self, connection: Connection) -> Option<Id> {
        if !self.has_room() {
            return None;
        }
        let ports = connection.ports;
        if ports.is_some_and(|ports| self.by_ports.contains_key(&ports)) {
            return None;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).expect("the count is bounded")
        });
        let index = usize::try_from(place).expect("a place is an index");
        let there = &mut self.places[index];
        there.serial = there.serial.wrapping_add(1);
        there.connection = Some(connection);
        let id = Id {
            place,
            serial: there.serial,
        };
        if let Some(ports) = ports {
            self.by_ports.insert(ports, id);
        }
        Some(id)
    }

    /// Gives a connection that had no ports its ports, if they are free.
    pub(super) fn name(&mut self, id: Id, ports: Ports) -> Option<&mut Connection> {
        if self.by_ports.contains_key(&ports) {
            return None;
        }
        self.get(id)?;
        self.by_ports.insert(ports, id);
        self.get(id)
    }

    pub(super) fn find(&self, ports: Ports) -> Option<Id> {
        self.by_ports.get(&ports).copied()
    }

    pub(super) fn get(&mut self, id: Id) -> Option<&mut Connection> {
        let place = self.places.get_mut(id.place())?;
        if place.serial != id.serial {
            return None;
        }
        place.connection.as_mut()
    }

    /// The connection that is at a place and has a number.
    pub(super) fn by_number(&self, number: u64) -> Option<Id> {
        let id = Id {
            place: u32::try_from(number >> 32).ok()?,
            serial: u32::try_from(number & u64::from(u32::MAX)).ok()?,
        };
        let place = self.places.get(id.place())?;
        (place.serial == id.serial && place.connection.is_some()).then_some(id)
    }

    /// Puts a connection behind the others that may have something for the guest, unless it is there.
    pub(super) fn enqueue(&mut self, id: Id) {
        if self.get(id).is_none() {
            return;
        }
        let place = &mut self.places[id.place()];
        if !std::mem::replace(&mut place.is_queued, true) {
            self.order.push_back(id.place);
        }
    }

    /// Whether one may have something for the guest.
    pub(super) fn has_queued(&self) -> bool {
        !self.order.is_empty()
    }

    /// The connection whose turn it is.
    pub(super) fn dequeue(&mut self) -> Option<Id> {
        loop {
            let number = self.order.pop_front()?;
            let index = usize::try_from(number).expect("a place is an index");
            let place = &mut self.places[index];
            place.is_queued = false;
            if place.connection.is_some() {
                return Some(Id {
                    place: number,
                    serial: place.serial,
                });
            }
        }
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Connection> {
        self.get(id)?;
        let connection = self.places[id.place()].connection.take()?;
        self.free.push(id.place);
        if let Some(ports) = connection.ports {
            self.by_ports.remove(&ports);
        }
        Some(connection)
    }
}
