//! The cases of vectors.

use std::time::Instant;

use anyhow::{Result, ensure};
use pepita_simd::SimdOps;

use super::eighths;
use super::libraries::{Blas, Which, Work};
use crate::case::{Bar, Case, Contender, Home, Role, Settings, Unit};

/// Bytes of each operand.
const SIZES: [(usize, &str); 4] = [
    (4 << 10, "4 KiB"),
    (256 << 10, "256 KiB"),
    (8 << 20, "8 MiB"),
    (128 << 20, "128 MiB"),
];

/// Bytes of operands of a round, about.
const BYTES: usize = 256 << 20;

/// Makes the work of a peer.
type Make = fn(&Blas) -> Result<Work>;

/// The answer, from `x` and `y`.
type Want = fn(f64, f64) -> f64;

struct Operation {
    name: &'static str,
    /// Operands that are read or written.
    operands: usize,
    ours: fn(&SimdOps, &[f32], &[f32], &mut [f32]),
    mkl: Make,
    /// None where OpenBLAS has no such function.
    openblas: Option<Make>,
    /// Of one element, or of one term of the sum.
    want: Want,
    /// What becomes of the sum; none where each element stands for itself.
    sum: Option<fn(f64) -> f64>,
}

static OPERATIONS: [Operation; 5] = [
    Operation {
        name: "add",
        operands: 3,
        ours: |ops, x, y, out| ops.add(x, y, out),
        mkl: Blas::add,
        openblas: None,
        want: |x, y| x + y,
        sum: None,
    },
    Operation {
        name: "axpy",
        operands: 3,
        ours: |ops, x, _, out| ops.axpy(0.0625, x, out),
        mkl: |blas| blas.axpy(0.0625),
        openblas: Some(|blas| blas.axpy(0.0625)),
        want: |x, _| 0.0625 * x,
        sum: None,
    },
    Operation {
        name: "dot",
        operands: 2,
        ours: |ops, x, y, out| out[0] = ops.dot(x, y),
        mkl: Blas::dot,
        openblas: Some(Blas::dot),
        want: |x, y| x * y,
        sum: Some(|sum| sum),
    },
    Operation {
        name: "norm2",
        operands: 1,
        ours: |ops, x, _, out| out[0] = ops.norm2(x),
        mkl: Blas::norm2,
        openblas: Some(Blas::norm2),
        want: |x, _| x * x,
        sum: Some(f64::sqrt),
    },
    Operation {
        name: "exp",
        operands: 2,
        ours: |ops, x, _, out| ops.exp(x, out),
        mkl: Blas::exp,
        openblas: None,
        want: |x, _| x.exp(),
        sum: None,
    },
];

pub(super) fn cases(_: &Settings) -> Vec<Case> {
    let of =
        |operation: &'static Operation| SIZES.map(|(bytes, size)| case(operation, bytes, size));
    OPERATIONS.iter().flat_map(of).collect()
}

fn case(operation: &'static Operation, bytes: usize, size: &str) -> Case {
    let name = format!("{}-{}", operation.name, size.replace(' ', ""));
    let work = format!(
        "{} of f32, {size} each operand, on one thread",
        operation.name
    );
    let library =
        move |which, make: Make| Vectors::new(operation, bytes, move || make(&Blas::load(which)?));
    let case = Case::new(name, Unit::Rate("GB/s"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "SimdOps", move || {
            let (ops, ours) = (SimdOps::new(), operation.ours);
            Vectors::new(operation, bytes, move || {
                Ok(Box::new(move |x, y, out| ours(&ops, x, y, out)))
            })
        })
        .contender(Role::Peer, Home::Shared, "MKL", move || {
            library(Which::Mkl, operation.mkl)
        });
    let Some(openblas) = operation.openblas else {
        return case;
    };
    case.contender(Role::Peer, Home::Shared, "OpenBLAS", move || {
        library(Which::OpenBlas, openblas)
    })
}

/// An operation, done over and over.
struct Vectors {
    operation: &'static Operation,
    x: Vec<f32>,
    y: Vec<f32>,
    out: Vec<f32>,
    times: u32,
    work: Work,
}

impl Vectors {
    fn new(
        operation: &'static Operation,
        bytes: usize,
        work: impl FnOnce() -> Result<Work>,
    ) -> Result<Self> {
        let len = bytes / size_of::<f32>();
        Ok(Self {
            operation,
            x: eighths(1, len),
            y: eighths(2, len),
            out: vec![0.0; len],
            times: u32::try_from(BYTES / bytes)?.max(1),
            work: work()?,
        })
    }
}

impl Contender for Vectors {
    fn answer(&mut self) -> Result<String> {
        self.out.fill(0.0);
        (self.work)(&self.x, &self.y, &mut self.out);
        let pairs = self.x.iter().zip(&self.y);
        let wanted = pairs.map(|(x, y)| (self.operation.want)(f64::from(*x), f64::from(*y)));
        let near =
            |got: f32, want: f64, bound: f64| (f64::from(got) - want).abs() <= bound * want.abs();
        if let Some(finish) = self.operation.sum {
            let want = finish(wanted.sum());
            // Of many millions OpenBLAS adds up with an error that grows with the length.
            ensure!(
                near(self.out[0], want, 1e-2),
                "{} instead of {want}",
                self.out[0]
            );
        } else {
            for (got, want) in self.out.iter().zip(wanted) {
                ensure!(near(*got, want, 1e-6), "{got} instead of {want}");
            }
        }
        Ok("right".to_owned())
    }

    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        for _ in 0..self.times {
            (self.work)(&self.x, &self.y, &mut self.out);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let bytes = u32::try_from(size_of_val(&self.x[..]) * self.operation.operands)?;
        Ok(f64::from(bytes) * f64::from(self.times) / seconds / 1e9)
    }
}
