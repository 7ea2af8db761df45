//! Circles of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::Import;

/// Which files or modules import which.
#[derive(Default)]
pub struct Graph {
    /// For each pair, the first import.
    edges: BTreeMap<String, BTreeMap<String, String>>,
    /// The number of the set of nodes that reach each other, for each node.
    sets: BTreeMap<String, usize>,
}

/// A set of files or modules that all import each other, directly or through others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The members, in order.
    pub members: Vec<String>,
    /// The imports of a way round.
    pub way: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.members[..self.members.len().min(MOST_SHOWN)];
        f.write_str(&shown.join(", "))?;
        if let more @ 1.. = self.members.len() - shown.len() {
            write!(f, " and {more} more")?;
        }
        f.write_str(" import each other in a circle:")?;
        self.way.iter().try_for_each(|import| write!(f, "\n    {import}"))
    }
}

/// The most members of a circle that a message lists.
const MOST_SHOWN: usize = 8;

impl Graph {
    /// The graph of these imports. `ends` says from where to where an import leads: between files, folders or modules.
    /// An import within one of them is left out.
    pub fn new<'i>(imports: impl IntoIterator<Item = &'i Import>, ends: impl Fn(&Import) -> (String, String)) -> Self {
        let mut graph = Self::default();
        for import in imports {
            let (from, to) = ends(import);
            if from != to {
                graph.edges.entry(to.clone()).or_default();
                graph.edges.entry(from).or_default().entry(to).or_insert_with(|| import.to_string());
            }
        }
        let mut search = Search { edges: &graph.edges, seen: BTreeMap::new(), open: Vec::new(), sets: BTreeMap::new() };
        for node in graph.edges.keys() {
            search.visit(node);
        }
        graph.sets = search.sets.into_iter().map(|(node, set)| (node.to_owned(), set)).collect();
        graph
    }

    /// Whether one of two nodes imports the other, directly or through others, and the other does the same.
    #[must_use]
    pub fn are_in_a_circle(&self, a: &str, b: &str) -> bool {
        a != b && self.sets.get(a).is_some_and(|set| self.sets.get(b) == Some(set))
    }

    /// All circles, in order of their first members, each with a shortest way round. No node is in two of them.
    #[must_use]
    pub fn circles(&self) -> Vec<Circle> {
        self.circles_with(|_, _| true)
    }

    /// The circles that have an import, from one node to another, that is counted. The way round is a shortest one that
    /// begins with such an import.
    #[must_use]
    pub fn circles_with(&self, counts: impl Fn(&str, &str) -> bool) -> Vec<Circle> {
        let mut ways: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (from, to) in self.edges.iter().flat_map(|(from, nexts)| nexts.keys().map(move |to| (from, to))) {
            let Some(set) = self.sets.get(from).filter(|_| self.are_in_a_circle(from, to) && counts(from, to)) else {
                continue;
            };
            let way = self.way_round(from, to);
            if ways.get(set).is_none_or(|known| way.len() < known.len()) {
                ways.insert(*set, way);
            }
        }
        let members =
            |set| self.sets.iter().filter(|(_, other)| **other == set).map(|(node, _)| node.clone()).collect();
        let mut circles: Vec<Circle> =
            ways.into_iter().map(|(set, way)| Circle { members: members(set), way }).collect();
        circles.sort_by(|a, b| a.members.cmp(&b.members));
        circles
    }

    /// The import from one node to another, and those of a shortest way back.
    fn way_round(&self, from: &str, to: &str) -> Vec<String> {
        let import = |from: &str, to: &str| self.edges.get(from)?.get(to).cloned();
        let mut open = VecDeque::from([(to, Vec::from_iter(import(from, to)))]);
        let mut seen = BTreeSet::from([to]);
        while let Some((node, way)) = open.pop_front() {
            if node == from {
                return way;
            }
            for (next, import) in self.edges.get(node).into_iter().flatten() {
                if seen.insert(next) {
                    open.push_back((next, [way.as_slice(), std::slice::from_ref(import)].concat()));
                }
            }
        }
        Vec::new()
    }
}

/// Tarjan's search for sets of nodes that reach each other. `petgraph` has it too, and would bring another version of
/// `hashbrown`.
struct Search<'g> {
    edges: &'g BTreeMap<String, BTreeMap<String, String>>,
    /// The order in which nodes were found.
    seen: BTreeMap<&'g str, usize>,
    /// Nodes that belong to no set yet.
    open: Vec<&'g str>,
    sets: BTreeMap<&'g str, usize>,
}

impl<'g> Search<'g> {
    /// Returns the earliest open node that this node reaches.
    fn visit(&mut self, node: &'g str) -> usize {
        if let Some(order) = self.seen.get(node) {
            return *order;
        }
        let own = self.seen.len();
        self.seen.insert(node, own);
        self.open.push(node);
        let mut earliest = own;
        for next in self.edges.get(node).into_iter().flat_map(BTreeMap::keys) {
            if !self.sets.contains_key(next.as_str()) {
                earliest = earliest.min(self.visit(next));
            }
        }
        if earliest == own {
            while let Some(member) = self.open.pop() {
                self.sets.insert(member, own);
                if member == node {
                    break;
                }
            }
        }
        earliest
    }
}
