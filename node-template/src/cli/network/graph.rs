//! The network as a picture, laid out by forces: linked nodes attract each other, all nodes repel
//! each other (Fruchterman and Reingold, 1991).
//!
//! The layout is deterministic: the same network gives the same picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::protocol::wire::Member;

use crate::cli::network::label::{label, plain};

/// Width and height of the picture.
const SIZE: f64 = 1_000.0;
/// The margin, which leaves room for the names beside the nodes.
const MARGIN: f64 = 70.0;
/// The most rounds of moving all nodes …
const ROUNDS: usize = 400;
/// … and the most pairs of nodes over all rounds, which take about a second.
const PAIRS: usize = 100_000_000;
/// The most nodes whose names are written.
const NAMED: usize = 150;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    x: f64,
    y: f64,
}

/// Draws the picture as SVG. `exercise`: the nodes of the exercise that the asked node is linked
/// to.
pub(crate) fn svg(members: &[Member], exercise: &[String]) -> String {
    let index_of: BTreeMap<&str, usize> =
        members.iter().enumerate().map(|(index, member)| (member.node.as_str(), index)).collect();
    let mut links = links(members, &index_of);
    let asked = members.iter().position(|member| member.me);
    links.extend(
        asked.iter().flat_map(|asked| (members.len()..members.len() + exercise.len()).map(|one| (*asked, one))),
    );
    let count = members.len() + exercise.len();
    let points = lay_out(count, &links);
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<g stroke="#9aa5b1" stroke-width="1">
"##
    );
    // Writing into a String does not fail.
    for (one, other) in &links {
        let (a, b) = (points[*one], points[*other]);
        writeln!(out, r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#, a.x, a.y, b.x, b.y).unwrap_or_default();
    }
    out.push_str("</g>\n");
    let radius = (60.0 / (count as f64).sqrt()).clamp(3.0, 12.0);
    let native = members.iter().map(|member| {
        (label(member), format!("{} links", member.links), if member.me { "#d9480f" } else { "#1c7ed6" })
    });
    let exercise = exercise.iter().map(|address| (plain(address), "a node of the exercise".to_owned(), "#868e96"));
    for ((name, what, fill), point) in native.chain(exercise).zip(&points) {
        let name = escaped(&name);
        let (x, y) = (point.x, point.y);
        write!(
            out,
            r#"<g><title>{name}, {what}</title><circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{fill}"/>"#
        )
        .unwrap_or_default();
        if count <= NAMED {
            let below = y + radius + 14.0;
            write!(out, r##"<text x="{x:.1}" y="{below:.1}" text-anchor="middle" fill="#212529">{name}</text>"##)
                .unwrap_or_default();
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// Returns each link once, in order, without links to nodes that are not in the list.
fn links(members: &[Member], index_of: &BTreeMap<&str, usize>) -> Vec<(usize, usize)> {
    let mut links = Vec::new();
    for (one, member) in members.iter().enumerate() {
        let others = member.peers.iter().filter_map(|peer| index_of.get(peer.as_str()).copied());
        links.extend(others.filter(|other| *other != one).map(|other| (one.min(other), one.max(other))));
    }
    links.sort_unstable();
    links.dedup();
    links
}

/// Places the nodes on a circle, in their order, and moves them less in each round.
fn lay_out(nodes: usize, links: &[(usize, usize)]) -> Vec<Point> {
    let turn = std::f64::consts::TAU / nodes.max(1) as f64;
    let mut points: Vec<Point> = (0..nodes)
        .map(|node| {
            let angle = turn * node as f64;
            Point { x: SIZE / 2.0 + 300.0 * angle.cos(), y: SIZE / 2.0 + 300.0 * angle.sin() }
        })
        .collect();
    if nodes < 2 {
        return vec![Point { x: SIZE / 2.0, y: SIZE / 2.0 }; nodes];
    }
    let rounds = ROUNDS.min(PAIRS / (nodes * nodes)).max(1);
    let distance = 0.8 * SIZE / (nodes as f64).sqrt();
    for round in 0..rounds {
        let reach = SIZE / 10.0 * (1.0 - round as f64 / rounds as f64);
        let forces = forces(&points, links, distance);
        for (point, force) in points.iter_mut().zip(forces) {
            let length = force.x.hypot(force.y).max(1e-9);
            let step = length.min(reach) / length;
            point.x += force.x * step;
            point.y += force.y * step;
        }
    }
    fit(&mut points);
    points
}

/// Returns the force on each node. A slight pull to the middle holds unlinked parts together.
fn forces(points: &[Point], links: &[(usize, usize)], distance: f64) -> Vec<Point> {
    let mut forces: Vec<Point> = points
        .iter()
        .map(|point| Point { x: (SIZE / 2.0 - point.x) * 0.05, y: (SIZE / 2.0 - point.y) * 0.05 })
        .collect();
    let mut push = |one: usize, other: usize, strength: f64| {
        let (x, y) = (points[one].x - points[other].x, points[one].y - points[other].y);
        let force = Point { x: x * strength, y: y * strength };
        forces[one].x += force.x;
        forces[one].y += force.y;
        forces[other].x -= force.x;
        forces[other].y -= force.y;
    };
    let apart =
        |one: usize, other: usize| (points[one].x - points[other].x).hypot(points[one].y - points[other].y).max(0.01);
    for one in 0..points.len() {
        for other in one + 1..points.len() {
            push(one, other, (distance / apart(one, other)).powi(2));
        }
    }
    for (one, other) in links {
        push(*one, *other, -apart(*one, *other) / distance);
    }
    forces
}

/// Scales the layout to the size of the picture.
fn fit(points: &mut [Point]) {
    let range = |of: fn(&Point) -> f64, points: &[Point]| {
        points.iter().map(of).fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
    };
    let ((left, right), (top, bottom)) = (range(|point| point.x, points), range(|point| point.y, points));
    let scale = (SIZE - 2.0 * MARGIN) / (right - left).max(bottom - top).max(1.0);
    let (middle_x, middle_y) = ((left + right) / 2.0, (top + bottom) / 2.0);
    for point in points {
        point.x = SIZE / 2.0 + (point.x - middle_x) * scale;
        point.y = SIZE / 2.0 + (point.y - middle_y) * scale;
    }
}

/// A node chooses its name, which must not become markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::network::tests::member;

    #[test]
    fn each_node_and_each_link_is_drawn_once_and_always_alike() {
        let members = [member(1, &[2, 3, 77]), member(2, &[1]), member(3, &[1, 2])];
        let picture = svg(&members, &["ws://localhost:5001".to_owned()]);
        assert_eq!(picture.matches("<circle ").count(), 4);
        assert_eq!(picture.matches("<line ").count(), 4, "of 1-2, 1-3, 2-3; nobody knows the fourth; and of 1-5001");
        assert!(picture.contains("<title>localhost:5001, a node of the exercise</title>"));
        assert!(picture.contains(">localhost:4001</text>") && picture.contains("localhost:4003, 2 links"));
        assert_eq!(picture, svg(&members, &["ws://localhost:5001".to_owned()]));
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn all_stand_inside_the_picture_and_apart() {
        let ring: Vec<(usize, usize)> = (0..30).map(|node| (node, (node + 1) % 30)).collect();
        for (nodes, links) in [(30, &ring[..]), (30, &[]), (2, &[(0, 1)]), (1, &[])] {
            let points = lay_out(nodes, links);
            for (at, point) in points.iter().enumerate() {
                assert!((0.0..=SIZE).contains(&point.x) && (0.0..=SIZE).contains(&point.y), "{point:?}");
                let near = points[..at].iter().any(|other| (point.x - other.x).hypot(point.y - other.y) < 10.0);
                assert!(!near, "{at} of {nodes}: {points:?}");
            }
        }
        assert_eq!(lay_out(0, &[]), []);
    }

    #[test]
    fn linked_nodes_stand_nearer_than_others() {
        // Two triangles, linked by one line.
        let links = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)];
        let points = lay_out(6, &links);
        let apart = |one: usize, other: usize| (points[one].x - points[other].x).hypot(points[one].y - points[other].y);
        assert!(apart(0, 1) < apart(0, 4) && apart(4, 5) < apart(1, 5), "{points:?}");
    }

    #[test]
    fn names_are_text() {
        let mut evil = member(1, &[]);
        evil.address = Some("ws://\"><script>&".to_owned());
        let picture = svg(&[evil], &[]);
        assert!(!picture.contains("<script>") && picture.contains("&quot;&gt;&lt;script&gt;&amp;"), "{picture}");
    }
}
