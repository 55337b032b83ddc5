//! The cases of products.

use std::time::Instant;

use anyhow::{Result, ensure};
use pepita_simd::MatrixOps;

use super::libraries::{Blas, Product, Shape, Which};
use super::roof::Roof;
use super::{crates, eighths};
use crate::case::{Bar, Case, Contender, Home, Role, Settings, Unit};

/// What everybody says whose product is right.
pub(super) const ANSWER: &str = "each element is the sum of its products";

/// Multiply-adds of a round, about.
const WORK: usize = 100_000_000;

const SQUARES: [usize; 7] = [64, 128, 256, 512, 1000, 1024, 2048];

/// m, k, n.
const OTHERS: [[usize; 3]; 5] = [
    [4096, 64, 64],
    [64, 64, 4096],
    [64, 4096, 64],
    [17, 4097, 33],
    [100, 100, 100],
];

fn shapes() -> impl Iterator<Item = Shape> {
    let squares = SQUARES.map(|n| Shape { m: n, k: n, n });
    let others = OTHERS.map(|[m, k, n]| Shape { m, k, n });
    squares.into_iter().chain(others)
}

fn name(s: Shape) -> String {
    let Shape { m, k, n } = s;
    if m == k && k == n {
        format!("{n}")
    } else {
        format!("{m}x{k}x{n}")
    }
}

pub(super) fn of_f32(_: &Settings) -> Vec<Case> {
    let case = |s: Shape| {
        let work = format!(
            "{} x {} by {} x {} of f32, on one thread",
            s.m, s.k, s.k, s.n
        );
        let library = move |which| {
            Products::<f32>::new(s, move || {
                Blas::load(which)?.product("sgemm", s, [1.0, 0.0])
            })
        };
        Case::new(name(s), Unit::Rate("GF/s"), work)
            .bar(Bar::Ratio(1.0))
            .contender(Role::Ours, Home::Shared, "MatrixOps", move || {
                let ops = MatrixOps::new();
                Products::<f32>::new(s, move || {
                    Ok(Box::new(move |a, b, c| {
                        ops.matmul_f32(a, b, c, s.m, s.k, s.n)
                    }))
                })
            })
            .contender(Role::Peer, Home::Shared, "MKL", move || library(Which::Mkl))
            .contender(Role::Peer, Home::Shared, "OpenBLAS", move || {
                library(Which::OpenBlas)
            })
            .contender(Role::Peer, Home::Shared, "matrixmultiply", move || {
                Products::<f32>::new(s, move || {
                    Ok(Box::new(move |a, b, c| {
                        crates::matrixmultiply_f32(s, a, b, c)
                    }))
                })
            })
            .contender(Role::Peer, Home::Shared, "gemm", move || {
                Products::<f32>::new(s, move || {
                    Ok(Box::new(move |a, b, c| crates::gemm(s, 0.0, 1.0, a, b, c)))
                })
            })
            .contender(
                Role::Reference,
                Home::Shared,
                "multiply-adds in registers",
                Roof::new,
            )
    };
    shapes().map(case).collect()
}

pub(super) fn of_f64(_: &Settings) -> Vec<Case> {
    let case = |s: Shape| {
        let work = format!(
            "{} x {} by {} x {} of f64, on one thread",
            s.m, s.k, s.k, s.n
        );
        let library = move |which| {
            Products::<f64>::new(s, move || {
                Blas::load(which)?.product("dgemm", s, [1.0, 0.0])
            })
        };
        let case = Case::new(name(s), Unit::Rate("GF/s"), work);
        let case = if s.m.min(s.n).min(s.k) >= 512 {
            case.bar(Bar::Ratio(1.0))
        } else {
            case
        };
        case.contender(Role::Ours, Home::Shared, "MatrixOps", move || {
            let ops = MatrixOps::new();
            Products::<f64>::new(s, move || {
                Ok(Box::new(move |a, b, c| {
                    ops.matmul_f64(a, b, c, s.m, s.k, s.n)
                }))
            })
        })
        .contender(Role::Peer, Home::Shared, "MKL", move || library(Which::Mkl))
        .contender(Role::Peer, Home::Shared, "OpenBLAS", move || {
            library(Which::OpenBlas)
        })
        .contender(Role::Peer, Home::Shared, "matrixmultiply", move || {
            Products::<f64>::new(s, move || {
                Ok(Box::new(move |a, b, c| {
                    crates::matrixmultiply_f64(s, a, b, c)
                }))
            })
        })
        .contender(Role::Peer, Home::Shared, "gemm", move || {
            Products::<f64>::new(s, move || {
                Ok(Box::new(move |a, b, c| crates::gemm(s, 0.0, 1.0, a, b, c)))
            })
        })
    };
    shapes().map(case).collect()
}

/// A product, done over and over.
struct Products<T> {
    shape: Shape,
    a: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
    times: u32,
    product: Product<T>,
}

impl<T: From<f32> + Into<f64> + Copy + PartialEq> Products<T> {
    fn new(shape: Shape, product: impl FnOnce() -> Result<Product<T>>) -> Result<Self> {
        let Shape { m, k, n } = shape;
        let data = |seed, len| eighths(seed, len).into_iter().map(T::from).collect();
        Ok(Self {
            shape,
            a: data(1, m * k),
            b: data(2, k * n),
            c: vec![T::from(f32::NAN); m * n],
            times: u32::try_from(WORK / (m * k * n)).unwrap_or(u32::MAX).max(1),
            product: product()?,
        })
    }
}

impl<T: From<f32> + Into<f64> + Copy + PartialEq> Contender for Products<T> {
    fn answer(&mut self) -> Result<String> {
        (self.product)(&self.a, &self.b, &mut self.c);
        let Shape { m, k, n } = self.shape;
        // Each element of some rows, the first and the last among them: exact, as the numbers are eighths.
        for row in (0..m).step_by(1 + m / 40).chain([m - 1]) {
            let mut sums = vec![0.0_f64; n];
            for p in 0..k {
                let a: f64 = self.a[row * k + p].into();
                for (sum, b) in sums.iter_mut().zip(&self.b[p * n..]) {
                    *sum += a * (*b).into();
                }
            }
            for (col, want) in sums.into_iter().enumerate() {
                let got: f64 = self.c[row * n + col].into();
                ensure!(
                    (got - want).abs() < 1e-9,
                    "element ({row}, {col}) is {got} instead of {want}"
                );
            }
        }
        Ok(ANSWER.to_owned())
    }

    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        for _ in 0..self.times {
            (self.product)(&self.a, &self.b, &mut self.c);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let Shape { m, k, n } = self.shape;
        let sizes = [m, k, n].map(|size| f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
        let operations = 2.0 * sizes.into_iter().product::<f64>() * f64::from(self.times);
        Ok(operations / seconds / 1e9)
    }
}
