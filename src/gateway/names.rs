//! Names of what records know by stable id. Learnt from the tables when an id is first seen, kept
//! afterwards: an id stands for the same name in every generation.

use std::collections::HashMap;

use ringway_policy::stage::Stage;
use ringway_record::metrics::Names;
use ringway_snapshot::tables::RouteIndex;

use crate::generation::Generation;

/// Most routes whose names are kept; beyond it all are forgotten and learnt anew.
const ROUTES_MAX: usize = 16 * 1024;

/// The names known so far.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    routes: HashMap<u64, String>,
    upstreams: HashMap<u64, String>,
    limits: HashMap<u64, String>,
}

impl KnownNames {
    /// Whether a route's name is known.
    pub(crate) fn knows_route(&self, id: u64) -> bool {
        id == 0 || self.routes.contains_key(&id)
    }

    /// Learns the name of a route that a record speaks of, and with it those of all others unless they are too many: one pass
    /// over the table for each route would take longer than its requests.
    pub(crate) fn learn_met(&mut self, generation: &Generation, id: u64) {
        let tables = generation.snapshot.tables();
        let mut routes = vec![id];
        if (tables.route_count() as usize) < ROUTES_MAX {
            let all = (0..tables.route_count()).map(RouteIndex);
            routes.extend(all.filter_map(|index| tables.route(index)).map(|row| row.id));
        }
        self.learn(generation, routes);
    }

    /// Learns the names of these routes, and of all upstreams and limits, from a generation. One pass
    /// over the table, however many ids are asked for.
    pub(crate) fn learn(&mut self, generation: &Generation, mut routes: Vec<u64>) {
        let snapshot = &generation.snapshot;
        self.upstreams
            .extend(snapshot.upstreams().iter().map(|upstream| (upstream.id, upstream.name.clone())));
        self.limits.extend(snapshot.limits().iter().map(|limit| (limit.id, limit.name.clone())));
        if self.routes.len() + routes.len() > ROUTES_MAX {
            self.routes.clear();
        }
        routes.sort_unstable();
        let tables = snapshot.tables();
        for index in (0..tables.route_count()).map(RouteIndex) {
            let Some(row) = tables.route(index) else { continue };
            if routes.binary_search(&row.id).is_ok() {
                let host = tables.host_of(index).map(|host| tables.host_name(host)).unwrap_or_default();
                self.routes.insert(row.id, format!("{host} {}", tables.route_name(index)));
            }
        }
        // One that is in no table any more is shown by its number, and not looked for again.
        for id in routes {
            self.routes.entry(id).or_insert_with(|| format!("{id:016x}"));
        }
    }
}

impl Names for KnownNames {
    fn route(&self, route_id: u64) -> Option<&str> {
        self.routes.get(&route_id).map(String::as_str)
    }

    fn upstream(&self, upstream_id: u64) -> Option<&str> {
        self.upstreams.get(&upstream_id).map(String::as_str)
    }

    fn limit(&self, limit_id: u64) -> Option<&str> {
        self.limits.get(&limit_id).map(String::as_str)
    }

    fn stage(&self, stage: u8) -> Option<&str> {
        Stage::from_number(stage).map(Stage::name)
    }
}
