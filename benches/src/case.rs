//! What is measured: [`Suite`], [`Case`], [`Contender`].

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::stats::Comparison;

/// Cases that are run by one name.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// What `cargo xtask bench` takes.
    pub name: &'static str,
    /// One line for the list.
    pub about: &'static str,
    /// Makes its cases.
    pub cases: fn(&Settings) -> Vec<Case>,
}

/// What the command line says to every case. A contender in a process of its own gets the same.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Work items of a round, where a case lets that be chosen: for instance 4000 processes.
    #[arg(long, value_name = "N")]
    pub size: Option<usize>,
    /// The `pepita` program.
    #[arg(long, value_name = "PATH", default_value = "target/release/pepita")]
    pub pepita: PathBuf,
}

/// What the figures of a case count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A cost: less is better.
    Time(&'static str),
    /// More is better.
    Rate(&'static str),
}

impl Unit {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Time(name) | Self::Rate(name) => name,
        }
    }
}

/// What a case has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// The ratio to the best peer is at least this; see [`Comparison::reaches`].
    Ratio(f64),
    /// Our median is at least this, in the case's unit.
    AtLeast(f64),
    /// Our median is below this, in the case's unit.
    Below(f64),
    /// The median of what ours takes over the reference, round by round, is below this.
    BelowOverReference(f64),
}

impl Bar {
    /// Whether it holds for our median, the comparison with the best peer, and what ours takes over
    /// the reference.
    #[must_use]
    pub fn holds(self, ours: f64, best: Option<&Comparison>, over: Option<f64>) -> bool {
        match self {
            Self::Ratio(bar) => best.is_some_and(|seen| seen.reaches(bar)),
            Self::AtLeast(bar) => ours >= bar,
            Self::Below(bar) => ours < bar,
            Self::BelowOverReference(bar) => over.is_some_and(|over| over < bar),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(bar) => write!(f, "ratio ≥ {bar}"),
            Self::AtLeast(bar) => write!(f, "ours ≥ {bar}"),
            Self::Below(bar) => write!(f, "ours < {bar}"),
            Self::BelowOverReference(bar) => write!(f, "ours − reference < {bar}"),
        }
    }
}

/// Does the work of a case, in its own way.
pub trait Contender {
    /// What the work comes to, by the code that is timed; every contender must say the same.
    ///
    /// # Errors
    /// Why the work cannot be done; ends the bench.
    fn answer(&mut self) -> Result<String>;

    /// Does the work once, and gives its figure in the case's unit. What is not the work (input to be
    /// made, a pool to be started) stays outside of the figure.
    ///
    /// # Errors
    /// Why the work cannot be done; ends the bench.
    fn round(&mut self) -> Result<f64>;
}

/// Where a contender lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In a process of its own, stopped while others are timed. For those that keep threads or much
    /// memory.
    Own,
    /// In the process that drives the bench.
    Shared,
}

/// What a contender is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the case is about; each case has one.
    Ours,
    /// What ours is compared with.
    Peer,
    /// Compared and shown as a peer, but not what the bar is about.
    Beside,
    /// Measured in the same rounds and shown, without comparison: a floor or a roof.
    Reference,
}

type Make = Box<dyn Fn() -> Result<Box<dyn Contender>>>;

/// A contender before it is made.
pub struct Entry {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) home: Home,
    pub(crate) make: Make,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// One piece of work that several contenders do.
#[derive(Debug)]
pub struct Case {
    pub(crate) name: String,
    pub(crate) work: String,
    pub(crate) unit: Unit,
    pub(crate) rounds: Option<usize>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) bar: Option<Bar>,
}

impl Case {
    /// A case without contenders; `work` says in one line what each of them does in a round.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: Unit, work: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            work: work.into(),
            unit,
            rounds: None,
            entries: Vec::new(),
            bar: None,
        }
    }

    /// Adds a contender. An error of `make` says what the machine lacks for it: without ours the case
    /// fails, a missing peer is named in the results.
    #[must_use]
    pub fn contender<C: Contender + 'static>(
        mut self,
        role: Role,
        home: Home,
        name: impl Into<String>,
        make: impl Fn() -> Result<C> + 'static,
    ) -> Self {
        self.entries.push(Entry {
            name: name.into(),
            role,
            home,
            make: Box::new(move || Ok(Box::new(make()?))),
        });
        self
    }

    /// Sets how many rounds there are when the command line does not say. Only for cases that are not
    /// compared with a peer may it be less than [`ROUNDS`](crate::ROUNDS).
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = Some(rounds);
        self
    }

    /// Sets what it has to reach.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }
}
