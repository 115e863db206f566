//! The images of a chart.
//!
//! In:   what the chart renders to, or the chart itself where nothing renders it.
//! Out:  [`Images`]: a reference a row, with where it stands and whether it is proven.
//! Pure: texts only; references are returned as they are written.
//!
//! Proven is what stands in an image field of a rendered manifest. Everything else, flags,
//! variables, texts in config maps, and all that is read from a chart without rendering it, may
//! or may not be pulled by a cluster, and only the user can tell.

pub mod guess;
pub mod likeness;
pub mod manifest;
pub mod values;

/// Told when there are more than [`super::bounds::ROWS_MAX`] rows.
const FULL: &str = "more images than can be told of";

/// One image, in one place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    pub reference: String,
    /// `chart/templates/x.yaml: Deployment/name`, `templates/x.yaml:12`,
    /// `values.yaml: controller.image`.
    pub place: String,
    pub proven: bool,
    /// The `helm.sh/hook` of the manifest: it runs at `pre-install` and the like, or in a test.
    pub hook: Option<String>,
}

/// All images found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Images {
    /// Sorted by reference and place, each once; a reference that is proven in one place has no
    /// row that is not.
    pub rows: Vec<Row>,
    /// What could not be read, and so may name images that are missing here.
    pub unread: Vec<String>,
}

impl Images {
    fn of(mut rows: Vec<Row>, unread: Vec<String>) -> Self {
        rows.sort_by(|a, b| (&a.reference, !a.proven, a).cmp(&(&b.reference, !b.proven, b)));
        rows.dedup();
        let mut proven: Option<String> = None;
        rows.retain(|row| {
            if row.proven {
                proven = Some(row.reference.clone());
            }
            row.proven || proven.as_ref() != Some(&row.reference)
        });
        Self { rows, unread }
    }

    /// The references, each once.
    #[cfg(test)]
    pub fn references(&self) -> Vec<&str> {
        let mut references: Vec<&str> =
            self.rows.iter().map(|row| row.reference.as_str()).collect();
        references.dedup();
        references
    }
}

#[cfg(test)]
mod tests;
