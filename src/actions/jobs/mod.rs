//! Jobs: changes of twins and direct methods on many devices, and the import and export of the registry.

mod blob;
mod scheduled;
mod waiting;

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    update_twins_by_query,
    invoke_method_by_query,
    schedule_twin_update,
    schedule_direct_method,
    get_job,
    list_jobs,
    list_job_results,
    wait_for_job,
    cancel_job,
    create_export_job,
    create_import_job,
    get_import_export_job,
    list_import_export_jobs,
    wait_for_import_export_job,
    cancel_import_export_job,
}
