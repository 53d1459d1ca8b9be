//! The space of [`super::can`]: a torus that is halved again and again, dimension by dimension in turn.

use super::message::{Fields, Reader};

/// A box of the torus: the points whose identifiers begin with `depth` given bits. Bit n of an
/// identifier says which half of dimension n mod d a point lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Zone {
    /// The given bits, then zeros: its first point.
    pub(super) bits: u64,
    pub(super) depth: u8,
}

/// From where to where a box reaches in a dimension of length 1.
type Side = (f64, f64);

impl Zone {
    /// The whole torus.
    pub(super) const WHOLE: Zone = Zone { bits: 0, depth: 0 };

    /// The box of one point.
    pub(super) fn point(key: u64) -> Zone {
        Zone { bits: key, depth: 64 }
    }

    /// Whether a box lies within this one.
    pub(super) fn holds(self, other: Zone) -> bool {
        let differ = (self.bits ^ other.bits).leading_zeros();
        self.depth <= other.depth && u32::from(self.depth) <= differ
    }

    pub(super) fn overlaps(self, other: Zone) -> bool {
        self.holds(other) || other.holds(self)
    }

    /// Its points, in units of the smallest box.
    pub(super) fn volume(self) -> u128 {
        1 << (64 - self.depth)
    }

    /// Its halves; `None` for a single point.
    pub(super) fn halves(self) -> Option<[Zone; 2]> {
        let depth = Some(self.depth + 1).filter(|depth| *depth <= 64)?;
        let lower = Zone { bits: self.bits, depth };
        Some([lower, Zone { bits: self.bits | 1 << (64 - depth), depth }])
    }

    /// What it was half of.
    pub(super) fn parent(self) -> Option<Zone> {
        let depth = self.depth.checked_sub(1)?;
        Some(Zone { bits: self.bits & !(1 << (63 - depth)), depth })
    }

    /// What is left without another box: itself if they are apart.
    pub(super) fn without(self, other: Zone) -> Vec<Zone> {
        if other.holds(self) {
            return Vec::new();
        }
        if !self.holds(other) {
            return vec![self];
        }
        let halves = self.halves().into_iter().flatten();
        halves.flat_map(|half| half.without(other)).collect()
    }

    /// Bits given in a dimension.
    fn bits_in(self, dimension: usize, dimensions: usize) -> usize {
        (usize::from(self.depth) + dimensions - 1 - dimension) / dimensions
    }

    fn side(self, dimension: usize, dimensions: usize) -> Side {
        let (mut from, mut length) = (0.0, 1.0);
        for bit in (dimension..usize::from(self.depth)).step_by(dimensions) {
            length /= 2.0;
            if self.bits >> (63 - bit) & 1 == 1 {
                from += length;
            }
        }
        (from, from + length)
    }

    /// Whether the boxes share a face: they meet in one dimension and overlap in all others.
    pub(super) fn is_beside(self, other: Zone, dimensions: usize) -> bool {
        let mut meetings = 0;
        for dimension in 0..dimensions {
            let [a, b] = [self, other].map(|zone| zone.side(dimension, dimensions));
            if a.0 < b.1 && b.0 < a.1 {
                continue;
            }
            let meets = |a: f64, b: f64| a == b || (a == 1.0 && b == 0.0);
            if meetings > 0 || !meets(a.1, b.0) && !meets(b.1, a.0) {
                return false;
            }
            meetings += 1;
        }
        meetings == 1
    }

    /// The way from the box to a point: the sum over all dimensions, each around the shorter side.
    pub(super) fn distance(self, point: &[f64]) -> f64 {
        let way = |(dimension, at): (usize, &f64)| {
            let (from, to) = self.side(dimension, point.len());
            let around = |side: f64| (at - side).abs().min(1.0 - (at - side).abs());
            if (from..to).contains(at) { 0.0 } else { around(from).min(around(to)) }
        };
        point.iter().enumerate().map(way).sum()
    }

    /// The box of the same shape beyond a face, the face of higher coordinates or the other. `None` if
    /// this one fills the dimension.
    fn beyond(self, dimension: usize, dimensions: usize, is_up: bool) -> Option<Zone> {
        let count = self.bits_in(dimension, dimensions);
        if count == 0 {
            return None;
        }
        // Adds or subtracts one, in the bits of this dimension, from the last one up.
        let mut bits = self.bits;
        for number in (0..count).rev() {
            let mask = 1 << (63 - (dimension + number * dimensions));
            bits ^= mask;
            if (bits & mask != 0) == is_up {
                break;
            }
        }
        Some(Zone { bits, depth: self.depth })
    }

    /// The boxes that touch a face of this one and overlap none of `known`.
    pub(super) fn gaps(self, known: &[Zone], dimensions: usize) -> Vec<Zone> {
        let mut gaps = Vec::new();
        for dimension in 0..dimensions {
            for is_up in [true, false] {
                if let Some(beyond) = self.beyond(dimension, dimensions, is_up) {
                    self.gaps_in(beyond, known, dimensions, &mut gaps);
                }
            }
        }
        gaps.sort_unstable();
        gaps.dedup();
        gaps
    }

    fn gaps_in(self, part: Zone, known: &[Zone], dimensions: usize, gaps: &mut Vec<Zone>) {
        if known.iter().any(|zone| zone.holds(part)) || !self.is_beside(part, dimensions) {
            return;
        }
        let within: Vec<Zone> = known.iter().copied().filter(|zone| part.holds(*zone)).collect();
        if within.is_empty() {
            return gaps.push(part);
        }
        for half in part.halves().into_iter().flatten() {
            self.gaps_in(half, &within, dimensions, gaps);
        }
    }
}

/// Where a key lies in each dimension: in the middle of its own smallest box, so never on the side of
/// another.
pub(super) fn point_of(key: u64, dimensions: usize) -> Vec<f64> {
    let middle = |dimension| {
        let (from, to) = Zone::point(key).side(dimension, dimensions);
        f64::midpoint(from, to)
    };
    (0..dimensions).map(middle).collect()
}

/// Joins halves that lie in one list, so that a node has as few boxes as can be.
pub(super) fn join_halves(zones: &mut Vec<Zone>) {
    zones.sort_unstable();
    zones.dedup();
    while let Some(at) = zones
        .windows(2)
        .position(|pair| pair[0].depth == pair[1].depth && pair[0].parent() == pair[1].parent())
    {
        let parent = zones[at].parent().into_iter();
        zones.splice(at..at + 2, parent);
    }
}

/// The volume of all of them, 0 for none.
pub(super) fn volume(zones: &[Zone]) -> u128 {
    zones.iter().map(|zone| zone.volume()).sum()
}

/// The way from the closest of these zones to a point.
pub(super) fn distance(zones: &[Zone], point: &[f64]) -> f64 {
    zones.iter().map(|zone| zone.distance(point)).fold(f64::INFINITY, f64::min)
}

/// `zones` without those of `others`.
pub(super) fn without(zones: &[Zone], others: &[Zone]) -> Vec<Zone> {
    let cut = |zones: Vec<Zone>, other: &Zone| {
        zones.into_iter().flat_map(|zone| zone.without(*other)).collect()
    };
    others.iter().fold(zones.to_vec(), cut)
}

/// Zones as fields of a message.
pub(super) fn add_zones(fields: Fields, zones: &[Zone]) -> Fields {
    let add = |fields: Fields, zone: &Zone| fields.id(zone.bits).byte(zone.depth);
    zones.iter().fold(fields.number(zones.len()), add)
}

/// A zone of a message.
pub(super) fn read_zone(fields: &mut Reader<'_>) -> Option<Zone> {
    let (bits, depth) = (fields.id()?, fields.byte()?);
    (depth <= 64).then_some(Zone { bits, depth })
}

/// Zones of a message.
pub(super) fn read_zones(fields: &mut Reader<'_>) -> Option<Vec<Zone>> {
    let count = fields.number()?;
    (0..count).map(|_| read_zone(fields)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A torus that was halved at random.
    fn tiling(count: usize, seed: u64) -> Vec<Zone> {
        let (mut zones, mut rng) = (vec![Zone::WHOLE], Rng::new(seed));
        while zones.len() < count {
            let zone = zones.swap_remove(rng.below(zones.len()));
            zones.extend(zone.halves().into_iter().flatten());
        }
        zones
    }

    #[test]
    fn halves_make_a_whole_and_what_is_cut_out_is_missing() {
        let [lower, upper] = Zone::WHOLE.halves().unwrap();
        assert!(!lower.overlaps(upper) && Zone::WHOLE.holds(upper));
        assert_eq!((lower.parent(), upper.parent()), (Some(Zone::WHOLE), Some(Zone::WHOLE)));
        let mut zones = tiling(50, 3);
        let cut = zones[20];
        let mut rest = Zone::WHOLE.without(cut);
        assert_eq!(volume(&rest), Zone::WHOLE.volume() - cut.volume());
        assert!(rest.iter().all(|zone| !zone.overlaps(cut)));
        rest.push(cut);
        join_halves(&mut rest);
        join_halves(&mut zones);
        assert_eq!((rest, zones), (vec![Zone::WHOLE], vec![Zone::WHOLE]));
    }

    #[test]
    fn boxes_are_beside_each_other_as_on_a_torus() {
        // Two dimensions, four by four boxes, the bits of x and y in turn.
        let zone = |x: u64, y: u64| {
            let bits = [x >> 1 & 1, y >> 1 & 1, x & 1, y & 1];
            let bits = bits.iter().enumerate().map(|(place, bit)| bit << (63 - place));
            Zone { bits: bits.sum(), depth: 4 }
        };
        assert!(zone(1, 2).is_beside(zone(2, 2), 2) && zone(0, 1).is_beside(zone(3, 1), 2));
        assert!(!zone(1, 2).is_beside(zone(2, 3), 2) && !zone(1, 2).is_beside(zone(3, 2), 2));
        let way = zone(3, 0).distance(&point_of(zone(1, 0).bits, 2));
        assert!((way - 0.25).abs() < 1e-6, "{way} to the far side of it");
        assert_eq!(zone(3, 0).beyond(0, 2, true), Some(zone(0, 0)));
        assert_eq!(zone(2, 0).beyond(1, 2, false), Some(zone(2, 3)));
    }

    #[test]
    fn what_is_missing_beside_a_box_is_found_and_nothing_else() {
        for (dimensions, seed) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
            let zones = tiling(60, seed);
            for (number, zone) in zones.iter().enumerate() {
                assert_eq!(zone.gaps(&zones, dimensions), [], "{dimensions} dimensions, {number}");
                let mut others = zones.clone();
                let missing = others.swap_remove((number + 1) % zones.len());
                let gaps = zone.gaps(&others, dimensions);
                assert!(gaps.iter().all(|gap| missing.holds(*gap) || gap.holds(missing)));
                assert_eq!(!gaps.is_empty(), zone.is_beside(missing, dimensions), "{zone:?}");
            }
        }
    }

    #[test]
    fn a_point_has_a_way_of_zero_to_the_box_it_lies_in_only() {
        let zones = tiling(200, 9);
        let corners = zones.iter().map(|zone| zone.bits);
        for key in corners.chain([7 << 50, u64::MAX, 0x0123_4567_89ab_cdef]) {
            for (zone, dimensions) in zones.iter().flat_map(|zone| [(zone, 4), (zone, 10)]) {
                let is_in = zone.holds(Zone::point(key));
                let way = zone.distance(&point_of(key, dimensions));
                assert_eq!(is_in, way == 0.0, "{zone:?} {key}");
            }
            assert_eq!(zones.iter().filter(|zone| zone.holds(Zone::point(key))).count(), 1);
        }
    }
}
