//! Writes lists, sections and numbers.

use measuring::Format;

/// Writes a list, one item per line.
pub(crate) fn list(items: &[String], format: Format) -> String {
    let mark = if format == Format::Markdown { "- " } else { "" };
    items.iter().map(|item| format!("{mark}{item}\n")).collect()
}

/// Writes a section with its title.
pub(crate) fn section(title: &str, text: &str, format: Format) -> String {
    let mark = if format == Format::Markdown { "### " } else { "" };
    format!("\n{mark}{title}\n\n{text}")
}

/// The minimum and maximum, if there are two values.
pub(super) fn spread(values: impl Iterator<Item = f64>, write: fn(f64) -> String) -> String {
    let values: Vec<_> = values.collect();
    if values.len() < 2 {
        return "–".to_owned();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{}–{}", write(least), write(values.iter().copied().fold(0.0, f64::max)))
}

pub(super) fn two_digits(value: f64) -> String {
    format!("{value:.2}")
}

pub(super) fn three_digits(value: f64) -> String {
    format!("{value:.3}")
}

/// Writes a whole number with separators: 12,345.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(12.0), "12");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter(), two_digits), "1.00–3.00");
    }
}
