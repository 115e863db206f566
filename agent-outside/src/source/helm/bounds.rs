//! Every bound on what chart repositories and charts may bring, each with its reason.

/// Longest `index.yaml`, in bytes: 20 MiB. The largest public ones have 15.
pub const INDEX_LEN_BYTES_MAX: u64 = 20 << 20;

/// Most YAML nodes of an `index.yaml`: 4 million. An entry has about 60.
pub const INDEX_NODES_MAX: usize = 4_000_000;

/// Longest chart archive, in bytes: 64 MiB. The largest public ones have 2.
pub const CHART_LEN_BYTES_MAX: u64 = 64 << 20;

/// Most plain bytes of a chart with all its subcharts: 100 MiB, Helm's own bound on an archive.
pub const CHART_PLAIN_LEN_BYTES_MAX: u64 = 100 << 20;

/// Longest file in a chart, in bytes: 5 MiB, Helm's own bound.
pub const MEMBER_LEN_BYTES_MAX: u64 = 5 << 20;

/// Most members of one archive: 20,000. The largest public charts have 500.
pub const MEMBERS_MAX: usize = 20_000;

/// Most charts in one archive, itself included: 500. The largest umbrella charts have 100.
pub const CHARTS_MAX: usize = 500;

/// How many charts stand inside each other: 16. Real ones reach 4.
pub const CHARTS_DEPTH_MAX: usize = 16;

/// Most YAML nodes of one document of a chart or of what it renders to: 500,000. The largest
/// resource definitions have 30,000.
pub const DOCUMENT_NODES_MAX: usize = 500_000;

/// Longest text that a chart renders to, in bytes: 64 MiB.
pub const RENDERED_LEN_BYTES_MAX: u64 = 64 << 20;

/// Longest values file of a waybill, in bytes: 5 MiB, as Helm's bound on the chart's own.
pub const VALUES_LEN_BYTES_MAX: u64 = MEMBER_LEN_BYTES_MAX;

/// Longest provenance file, in bytes: 256 KiB. It holds `Chart.yaml` and one signature.
pub const PROVENANCE_LEN_BYTES_MAX: u64 = 256 << 10;

/// Longest version and longest constraint, in bytes: Helm's own bounds (`Masterminds/semver`).
pub const VERSION_LEN_BYTES_MAX: usize = 256;
pub const CONSTRAINT_LEN_BYTES_MAX: usize = 512;

/// Most alternatives in one constraint: Helm's own bound.
pub const CONSTRAINT_GROUPS_MAX: usize = 32;

/// Most image rows told of one chart: 10,000.
pub const ROWS_MAX: usize = 10_000;
