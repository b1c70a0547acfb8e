//! Means, medians and percentiles.

/// The mean; 0 without values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value in the middle; of an even number, the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The value below which a part of all values lies, from 0 to 1; `sorted` is in ascending order.
pub fn percentile<T: Copy>(sorted: &[T], part: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn percentiles_are_values_of_the_list() {
        let sorted: Vec<u32> = (0..=200).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| percentile(&sorted, part)), [0, 100, 198, 200].map(Some));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
        assert_eq!((mean(&[1.0, 2.0]), mean(&[])), (1.5, 0.0));
    }
}
