//! Graphs of links, and their largest connected part without some nodes.

use rand::RngExt;
use rand::seq::SliceRandom;

/// A graph of nodes, by their numbers.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The nodes that each node dials.
    pub dials: Vec<Vec<usize>>,
}

impl Graph {
    /// A random graph in which each node has `degree` links, a few one less. It is made of random
    /// rings, and of random pairs if the degree is odd; one ring alone connects it. Each node dials
    /// the next on the ring, so half of its links are dialled.
    pub fn random(nodes: usize, degree: usize, rng: &mut impl RngExt) -> Self {
        let mut graph = Self { dials: vec![Vec::new(); nodes] };
        let mut order: Vec<usize> = (0..nodes).collect();
        for round in 0..degree.div_ceil(2) {
            order.shuffle(rng);
            let whole = 2 * round + 1 < degree;
            for position in (0..nodes).step_by(if whole { 1 } else { 2 }) {
                graph.link(order[position], order[(position + 1) % nodes]);
            }
        }
        graph
    }

    fn link(&mut self, from: usize, to: usize) {
        if from != to && !self.dials[from].contains(&to) && !self.dials[to].contains(&from) {
            self.dials[from].push(to);
        }
    }

    /// The number of links.
    pub fn links(&self) -> usize {
        self.dials.iter().map(Vec::len).sum()
    }

    /// The largest connected part of the graph among the nodes that stay, as a mark for each node.
    pub fn largest_part(&self, stays: &[bool]) -> Vec<bool> {
        let mut neighbours = self.dials.clone();
        for (from, dials) in self.dials.iter().enumerate() {
            for to in dials {
                neighbours[*to].push(from);
            }
        }
        let mut part_of = vec![usize::MAX; stays.len()];
        let mut sizes = Vec::new();
        for start in 0..stays.len() {
            if !stays[start] || part_of[start] != usize::MAX {
                continue;
            }
            let (part, mut open, mut size) = (sizes.len(), vec![start], 0);
            part_of[start] = part;
            while let Some(node) = open.pop() {
                size += 1;
                for next in &neighbours[node] {
                    if stays[*next] && part_of[*next] == usize::MAX {
                        part_of[*next] = part;
                        open.push(*next);
                    }
                }
            }
            sizes.push(size);
        }
        let largest = (0..sizes.len()).max_by_key(|part| sizes[*part]).unwrap_or(usize::MAX);
        part_of.into_iter().map(|part| part == largest && part != usize::MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn a_random_graph_is_connected_and_has_its_degree() {
        for degree in 3..=12 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(degree as u64);
            let graph = Graph::random(500, degree, &mut rng);
            assert!(graph.largest_part(&[true; 500]).iter().all(|reached| *reached), "degree {degree}");
            let mean = 2.0 * graph.links() as f64 / 500.0;
            assert!(mean <= degree as f64 && mean > degree as f64 - 0.3, "degree {degree}: {mean}");
        }
    }

    #[test]
    fn the_largest_part_excludes_nodes_that_are_cut_off() {
        let graph = Graph { dials: vec![vec![1], vec![2], vec![3], vec![4], vec![]] };
        assert_eq!(graph.largest_part(&[true, false, true, true, true]), [false, false, true, true, true]);
    }
}
