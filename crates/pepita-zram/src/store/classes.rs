//! Sizes: which class an object belongs to, and how many of a class share a span.

use pepita_mem::PAGE_SIZE;

use crate::sync::sized;

/// Pages of a span: as many as a chain of the kernel's zsmalloc may have.
pub(super) const SPAN_PAGES: usize = sized(16, 2);

/// Bytes of a span.
pub(super) const SPAN_BYTES: usize = SPAN_PAGES * PAGE_SIZE;

/// Sizes of objects differ by this.
const STEP: usize = sized(16, PAGE_SIZE);

/// The most objects of a span.
pub(super) const SPAN_OBJECTS_MAX: usize = SPAN_BYTES / STEP;

/// How objects of a class lie in a span: `count` of them, `bytes` apart, which end near the end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of an object's place.
    pub(super) bytes: usize,
    /// Objects of a full span.
    pub(super) count: usize,
}

impl Shape {
    /// The count that wastes the least behind the last object, and of two that waste the same the larger.
    fn of(bytes: usize) -> Self {
        let counts = 1..=SPAN_BYTES / bytes;
        let best = counts.max_by(|a, b| {
            // Full shares of `a` and `b` are compared without division.
            (a * bytes * pages(b * bytes)).cmp(&(b * bytes * pages(a * bytes)))
        });
        Self {
            bytes,
            count: best.unwrap_or(1),
        }
    }

    /// Bytes of pages that an object takes in a full span, in 1/65536.
    fn cost(self) -> usize {
        ((pages(self.bytes * self.count) * PAGE_SIZE) << 16) / self.count
    }
}

/// Pages of `bytes` bytes.
pub(super) const fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}

/// The classes, smallest first, and which one takes a size.
///
/// A class exists for a multiple of 16 bytes, unless objects of that size take no more of a page in a larger
/// class: then they go there, and fewer spans are partly filled.
#[derive(Debug)]
pub(crate) struct Sizes {
    shapes: Vec<Shape>,
    /// For each 16 bytes.
    class_of: Vec<u16>,
}

impl Sizes {
    pub(crate) fn new() -> Self {
        let mut shapes: Vec<Shape> = Vec::new();
        let mut class_of = Vec::new();
        for steps in (1..=PAGE_SIZE / STEP).rev() {
            let bytes = steps * STEP;
            let shape = Shape::of(bytes);
            let worse = |last: &Shape| last.cost() <= shape.cost();
            if !shapes.last().is_some_and(worse) {
                shapes.push(shape);
            }
            class_of.push(shapes.len() - 1);
        }
        let last = shapes.len() - 1;
        shapes.reverse();
        let class_of = class_of
            .into_iter()
            .rev()
            .filter_map(|class| u16::try_from(last - class).ok());
        Self {
            class_of: class_of.collect(),
            shapes,
        }
    }

    pub(super) fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The class of objects of `len` bytes; none for none, and for more than a page.
    pub(super) fn class_of(&self, len: usize) -> Option<usize> {
        let at = len.checked_sub(1)? / STEP;
        self.class_of.get(at).map(|class| usize::from(*class))
    }

    /// Bytes of pages that an object of `len` bytes takes where its class has full spans, in 1/65536; 0 for none,
    /// and for more than a page.
    pub(crate) fn cost_of(&self, len: usize) -> usize {
        let class = self.class_of(len);
        class.map_or(0, |class| self.shapes[class].cost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_a_class_that_holds_it_and_wastes_little() {
        let sizes = Sizes::new();
        assert_eq!(sizes.class_of(0), None);
        assert_eq!(sizes.class_of(PAGE_SIZE + 1), None);
        let (mut paid, mut wanted) = (0, 0);
        for len in 1..=PAGE_SIZE {
            let class = sizes.class_of(len).expect("a class");
            let shape = sizes.shapes()[class];
            assert!(shape.bytes >= len, "{len} in {shape:?}");
            assert!(shape.count * shape.bytes <= SPAN_BYTES);
            let below = class.checked_sub(1).map(|class| sizes.shapes()[class]);
            assert!(below.is_none_or(|below| below.bytes < shape.bytes));
            if len >= 512 {
                paid += shape.cost() >> 16;
                wanted += len;
            }
        }
        assert!(paid * 100 < wanted * 102, "{paid} for {wanted}");
    }

    #[test]
    fn a_raw_page_takes_a_page() {
        let sizes = Sizes::new();
        let class = sizes.class_of(PAGE_SIZE).expect("a class");
        let raw = Shape {
            bytes: PAGE_SIZE,
            count: SPAN_PAGES,
        };
        assert_eq!(sizes.shapes()[class], raw);
    }
}
