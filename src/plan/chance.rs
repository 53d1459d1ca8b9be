//! Random draws from the distributions of plans.

use crate::rng::Rng;
use std::time::Duration;

/// A number from 0 to below 1.
pub(crate) fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A rank from 0, where rank k comes up in proportion to 1 / (k + 1)^exponent.
pub(crate) fn zipf(count: usize, exponent: f64, rng: &mut Rng) -> usize {
    // Inverse of the continuous distribution with the same density, cut to whole ranks.
    let (end, rest) = (count as f64 + 1.0, 1.0 - exponent);
    let drawn = match rest.abs() < 1e-9 {
        true => end.powf(unit(rng)),
        false => (1.0 + unit(rng) * (end.powf(rest) - 1.0)).powf(1.0 / rest),
    };
    let rank = (drawn - 1.0).floor();
    #[expect(clippy::cast_possible_truncation, reason = "it is below count + 1")]
    #[expect(clippy::cast_sign_loss, reason = "a power above one, less one")]
    let rank = rank as usize;
    rank.min(count - 1)
}

/// Whole seconds until an event with `probability` per second; `None` is more than a day. Uses only
/// products and comparisons, which are the same on every machine.
pub(crate) fn seconds_until(probability: f64, rng: &mut Rng) -> Option<u64> {
    const DAY: u64 = 86_400;
    if probability <= 0.0 {
        return None;
    }
    let (drawn, mut spared) = (unit(rng), 1.0);
    (0..DAY).find(|_| {
        spared *= 1.0 - probability;
        spared <= drawn
    })
}

/// A time from the Pareto distribution with this mean and exponent 2: most are short, a few very long,
/// and the variance is infinite. Square roots are the same on every machine.
pub(crate) fn pareto(mean: Duration, rng: &mut Rng) -> Duration {
    let spared = 1.0 - unit(rng);
    mean.div_f64(2.0 * spared.sqrt()).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_per_second_come_true_at_their_rate() {
        let mut rng = Rng::new(9);
        let total: u64 = (0..2_000).filter_map(|_| seconds_until(0.01, &mut rng)).sum();
        assert!((90..110).contains(&(total / 2_000)), "{total}");
        assert_eq!(seconds_until(0.0, &mut rng), None);
        assert_eq!(seconds_until(1.0, &mut rng), Some(0));
    }

    #[test]
    fn ranks_come_up_by_their_exponent() {
        let mut rng = Rng::new(5);
        for (exponent, first) in [(0.0, 0.001), (0.5, 0.013), (1.0, 0.1), (2.0, 0.5)] {
            let drawn: Vec<usize> = (0..20_000).map(|_| zipf(1_000, exponent, &mut rng)).collect();
            let share = drawn.iter().filter(|&&rank| rank == 0).count() as f64 / 20_000.0;
            assert!((share / first - 1.0).abs() < 0.5, "exponent {exponent}: {share}");
            assert!(drawn.iter().all(|&rank| rank < 1_000));
        }
    }

    #[test]
    fn sessions_have_their_mean_and_a_heavy_tail() {
        let (mean, mut rng) = (Duration::from_secs(600), Rng::new(4));
        let mut drawn: Vec<_> = (0..10_000).map(|_| pareto(mean, &mut rng)).collect();
        drawn.sort_unstable();
        let measured = drawn.iter().sum::<Duration>() / 10_000;
        assert!((480..720).contains(&measured.as_secs()), "{measured:?}");
        assert!(drawn[0] >= mean / 2 && drawn[5_000] < mean * 3 / 4);
        assert!(drawn[9_999] > mean * 20, "{:?}", drawn[9_999]);
    }
}
