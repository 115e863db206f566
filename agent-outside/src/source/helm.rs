//! Charts: from classic repositories, registries and folders, with the images they name.
//!
//! In:   a [`ChartLine`](crate::waybill::ChartLine) of a waybill.
//! Out:  the chart as an artifact, and its images as rows that are proven or not.
//!
//! ```text
//! reference -> index -> pick -> fetch -> chart -> render -> images
//!                                             \-> images::guess, where there is no helm
//! ```
//!
//! What vouches for a chart: the digest in the repository's index, the digest in a registry's
//! manifest, and its provenance file, where the line names the keys that must have signed it.
//!
//! # What a hostile repository may try
//!
//! | attempt                                    | stopped by                              |
//! |--------------------------------------------|-----------------------------------------|
//! | an index or a values file without end      | `bounds`, before anything is parsed     |
//! | aliases of aliases of aliases              | the budgets of `yaml`                   |
//! | an archive that expands, or leaves its folder | `archive`                            |
//! | charts in charts without end               | `chart`: one room for all of them       |
//! | another chart under this name              | `Chart::check`, after the digest        |
//! | a template that reaches out                | `render`: an environment of its own     |

pub mod archive;
pub mod bounds;
pub mod chart;
mod entry;
mod fetch;
pub mod ignore;
pub mod images;
pub mod index;
pub mod oci;
pub mod pack;
pub mod pick;
pub mod prov;
pub mod reference;
pub mod render;
pub mod version;
pub mod yaml;

pub use fetch::{HelmError, archive_on_disk, images_of, resolve, served_as};
