//! Libraries that are not Rust: MKL and OpenBLAS, from the folders of PyPI's packages.
#![expect(unsafe_code, reason = "loads libraries, and calls them with pointers")]

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Where `cargo xtask bench` unpacks the packages.
const PACKAGES: &str = "target/pypi";

/// Values of CBLAS's enumerations.
const ROW_MAJOR: i32 = 101;
const NO_TRANS: i32 = 111;

/// `CblasRowMajor` products, with integers of type `I` and numbers of type `T`.
type Gemm<I, T> = unsafe extern "C" fn(
    order: i32,
    trans_a: i32,
    trans_b: i32,
    m: I,
    n: I,
    k: I,
    alpha: T,
    a: *const T,
    lda: I,
    b: *const T,
    ldb: I,
    beta: T,
    c: *mut T,
    ldc: I,
);
type Two<I, T> = unsafe extern "C" fn(n: I, x: *const T, inc_x: I, y: *const T, inc_y: I) -> T;
type One<I, T> = unsafe extern "C" fn(n: I, x: *const T, inc_x: I) -> T;
type Axpy<I, T> = unsafe extern "C" fn(n: I, alpha: T, x: *const T, inc_x: I, y: *mut T, inc_y: I);
type VectorAdd = unsafe extern "C" fn(n: i32, a: *const f32, b: *const f32, y: *mut f32);
type VectorExp = unsafe extern "C" fn(n: i32, a: *const f32, y: *mut f32);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Mkl,
    OpenBlas,
}

/// A library on one thread. It stays loaded: its functions are handed out.
#[derive(Debug)]
pub(super) struct Blas {
    which: Which,
    library: ManuallyDrop<Library>,
}

/// The shape of a product: `m` x `k` by `k` x `n`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Blas {
    /// Loads it.
    pub(super) fn load(which: Which) -> Result<Self> {
        let file = match which {
            Which::Mkl => "libmkl_rt.so.3",
            Which::OpenBlas => "libscipy_openblas64_.so",
        };
        let path = find(Path::new(PACKAGES), file)
            .with_context(|| format!("no {file} below {PACKAGES}: pip could not fetch it"))?;
        // SAFETY: what it does when it is loaded is its maker's to answer for.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }?;
        let library = ManuallyDrop::new(library);
        let blas = Self { which, library };
        blas.take_one_thread()?;
        Ok(blas)
    }

    fn take_one_thread(&self) -> Result<()> {
        let (name, argument): (&[u8], i32) = match self.which {
            // Layer 1 is the sequential one.
            Which::Mkl => (b"MKL_Set_Threading_Layer", 1),
            Which::OpenBlas => (b"scipy_openblas_set_num_threads64_", 1),
        };
        // SAFETY: both take an `int`.
        let set = unsafe { self.library.get::<unsafe extern "C" fn(i32) -> i32>(name) }?;
        // SAFETY: as above.
        unsafe { set(argument) };
        Ok(())
    }

    /// The function `name` of CBLAS.
    fn cblas<F: Copy>(&self, name: &str) -> Result<F> {
        let name = match self.which {
            Which::Mkl => format!("cblas_{name}"),
            Which::OpenBlas => format!("scipy_cblas_{name}64_"),
        };
        self.function(&name)
    }

    fn function<F: Copy>(&self, name: &str) -> Result<F> {
        // SAFETY: the callers name the type that the header has.
        let symbol = unsafe { self.library.get::<F>(name.as_bytes()) }?;
        Ok(*symbol)
    }

    /// `c = a * b`, by `name` of CBLAS; `one` and `zero` are what they say.
    pub(super) fn product<T: Copy + 'static>(
        &self,
        name: &str,
        s: Shape,
        [one, zero]: [T; 2],
    ) -> Result<Product<T>> {
        let check = move |a: &[T], b: &[T], c: &mut [T]| {
            assert!(a.len() >= s.m * s.k && b.len() >= s.k * s.n && c.len() >= s.m * s.n);
            (a.as_ptr(), b.as_ptr(), c.as_mut_ptr())
        };
        let (row, no) = (ROW_MAJOR, NO_TRANS);
        let [m, n, k] = [s.m, s.n, s.k].map(int);
        if self.which == Which::Mkl {
            let gemm: Gemm<i32, T> = self.cblas(name)?;
            return Ok(Box::new(move |a, b, c| {
                let (a, b, c) = check(a, b, c);
                // SAFETY: the slices are as long as the matrices.
                unsafe { gemm(row, no, no, m, n, k, one, a, k, b, n, zero, c, n) };
            }));
        }
        let gemm: Gemm<i64, T> = self.cblas(name)?;
        let [m, n, k] = [m, n, k].map(i64::from);
        Ok(Box::new(move |a, b, c| {
            let (a, b, c) = check(a, b, c);
            // SAFETY: the slices are as long as the matrices.
            unsafe { gemm(row, no, no, m, n, k, one, a, k, b, n, zero, c, n) };
        }))
    }

    /// Σxy into the first number of the output.
    pub(super) fn dot(&self) -> Result<Work> {
        if self.which == Which::Mkl {
            let dot: Two<i32, f32> = self.cblas("sdot")?;
            return Ok(Box::new(move |x, y, out| {
                let n = same(x, y);
                // SAFETY: both have `n` numbers.
                out[0] = unsafe { dot(n, x.as_ptr(), 1, y.as_ptr(), 1) };
            }));
        }
        let dot: Two<i64, f32> = self.cblas("sdot")?;
        Ok(Box::new(move |x, y, out| {
            let n = same(x, y).into();
            // SAFETY: both have `n` numbers.
            out[0] = unsafe { dot(n, x.as_ptr(), 1, y.as_ptr(), 1) };
        }))
    }

    /// √Σx² into the first number of the output.
    pub(super) fn norm2(&self) -> Result<Work> {
        if self.which == Which::Mkl {
            let norm: One<i32, f32> = self.cblas("snrm2")?;
            return Ok(Box::new(move |x, _, out| {
                // SAFETY: it has as many numbers.
                out[0] = unsafe { norm(int(x.len()), x.as_ptr(), 1) };
            }));
        }
        let norm: One<i64, f32> = self.cblas("snrm2")?;
        Ok(Box::new(move |x, _, out| {
            // SAFETY: it has as many numbers.
            out[0] = unsafe { norm(int(x.len()).into(), x.as_ptr(), 1) };
        }))
    }

    /// `out = alpha * x + out`.
    pub(super) fn axpy(&self, alpha: f32) -> Result<Work> {
        if self.which == Which::Mkl {
            let axpy: Axpy<i32, f32> = self.cblas("saxpy")?;
            return Ok(Box::new(move |x, _, out| {
                let n = same(x, out);
                // SAFETY: both have `n` numbers.
                unsafe { axpy(n, alpha, x.as_ptr(), 1, out.as_mut_ptr(), 1) };
            }));
        }
        let axpy: Axpy<i64, f32> = self.cblas("saxpy")?;
        Ok(Box::new(move |x, _, out| {
            let n = same(x, out).into();
            // SAFETY: both have `n` numbers.
            unsafe { axpy(n, alpha, x.as_ptr(), 1, out.as_mut_ptr(), 1) };
        }))
    }

    /// `out = x + y`, by MKL's vector functions.
    pub(super) fn add(&self) -> Result<Work> {
        let add: VectorAdd = self.function("vsAdd")?;
        Ok(Box::new(move |x, y, out| {
            let n = same(x, y).min(same(x, out));
            // SAFETY: all have `n` numbers.
            unsafe { add(n, x.as_ptr(), y.as_ptr(), out.as_mut_ptr()) };
        }))
    }

    /// `out = exp(x)`, by MKL's vector functions, in their most exact mode.
    pub(super) fn exp(&self) -> Result<Work> {
        let exp: VectorExp = self.function("vsExp")?;
        Ok(Box::new(move |x, _, out| {
            let n = same(x, out);
            // SAFETY: both have `n` numbers.
            unsafe { exp(n, x.as_ptr(), out.as_mut_ptr()) };
        }))
    }
}

/// Computes the third from the first two.
pub(super) type Product<T> = Box<dyn Fn(&[T], &[T], &mut [T])>;

/// Computes the third from the first two.
pub(super) type Work = Product<f32>;

/// The length of both.
fn same(x: &[f32], y: &[f32]) -> i32 {
    assert_eq!(x.len(), y.len());
    int(x.len())
}

/// A size as C's `int`.
fn int(size: usize) -> i32 {
    i32::try_from(size).expect("sizes of benches fit")
}

/// The first file of that name below `folder`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (entry.file_name() == name).then_some(path)
        }
    })
}
