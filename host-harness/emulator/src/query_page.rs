//! Queries and their pages, for the hub and for DPS.

use serde_json::Value;

use crate::error::{ServiceError, invalid};
use crate::paging::Page;
use crate::query::Query;
use crate::{paging, query};

/// Reads a query, or answers 400004 with what is wrong and where.
pub(crate) fn parse_query(text: &str, default_source: Option<&str>) -> Result<Query, ServiceError> {
    query::parse(text, default_source).map_err(|error| invalid(format!("the query is not valid: {error}")))
}

/// The sequence number after which the scan for a page begins. Aggregates and `TOP` need all documents on every page.
pub(crate) fn row_start(query: &Query, after: u64) -> u64 {
    if query.is_row_by_row() && query.top().is_none() { after } else { 0 }
}

/// Selects and projects documents and puts them on a page. `documents` must begin after [`row_start`].
pub(crate) fn select(
    pager: &paging::Pager,
    query: &Query,
    request: &paging::PageRequest,
    documents: impl Iterator<Item = (u64, Value)>,
) -> Page<Value> {
    let selected = documents.filter(|(_, document)| query.selects(document));
    if query.is_row_by_row() {
        let limit = query.top().unwrap_or(usize::MAX);
        let rows = selected.take(limit).filter(|(sequence, _)| *sequence > request.after);
        return pager.page(request, rows.map(|(sequence, document)| (sequence, query.project(document))));
    }
    let rows = query.aggregate(selected.map(|(_, document)| document));
    let rows = (1..).zip(rows).take(query.top().unwrap_or(usize::MAX));
    pager.page(request, rows.filter(|(sequence, _)| *sequence > request.after))
}
