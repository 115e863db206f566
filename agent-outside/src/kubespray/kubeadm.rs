//! The images that `kubeadm config images list` prints for the config that the tree renders.
//!
//! In:   a [`Cluster`].
//! Out:  one line for each image, by the rules of kubeadm's own cmd/kubeadm/app/images:
//!       repository and version of ClusterConfiguration, etcd only where kubeadm runs it.
//! The config itself is not rendered: addresses in it are no matter here.

use super::cluster::Cluster;
use super::host::Host;
use super::problem::Problem;

/// The role's template of the config.
const TEMPLATE: &str = "roles/download/templates/kubeadm-images.yaml.j2";

/// The control plane, in kubeadm's order.
const PARTS: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

/// The lines, coredns and pause included, which Kubespray filters out itself.
pub(crate) fn images(cluster: &Cluster) -> Vec<String> {
    let Some(play) = cluster.play_with("download") else { return Vec::new() };
    let hosts = cluster.matching(&play.hosts);
    let control = cluster.inventory.members("kube_control_plane");
    let Some(first) = hosts.iter().find(|host| control.contains(host)) else {
        let reason = "the group kube_control_plane has no host".into();
        cluster.note(Problem::Inventory { file: cluster.inventory.file.as_str().into(), reason });
        return Vec::new();
    };
    let Some(host) = cluster.host(first) else { return Vec::new() };
    list(cluster, &host).unwrap_or_else(|problem| {
        cluster.note(problem);
        Vec::new()
    })
}

fn list(cluster: &Cluster, host: &Host<'_>) -> Result<Vec<String>, Problem> {
    if host.truth("skip_downloads | default(false)")?
        || host.truth("skip_kubeadm_images | default(false)")?
    {
        return Ok(Vec::new());
    }
    let template = cluster.tree.get(TEMPLATE).map(String::from_utf8_lossy).unwrap_or_default();
    let repo = field(host, &template, "imageRepository", "{{ kube_image_repo }}")?;
    let version =
        field(host, &template, "kubernetesVersion", "v{{ kube_version }}")?.replace('+', "_");
    let mut lines: Vec<String> =
        PARTS.iter().map(|part| format!("{repo}/{part}:{version}")).collect();
    let coredns = host.text("{{ coredns_image_repo }}:{{ coredns_image_tag }}")?;
    lines.push(coredns);
    lines.push(format!("{repo}/pause:{}", host.text("{{ pod_infra_version }}")?));
    if host.truth("etcd_deployment_type == 'kubeadm'")? {
        let etcd = host.text("{{ etcd_image_repo }}")?;
        let etcd = etcd.strip_suffix("/etcd").unwrap_or(&etcd);
        lines.push(format!("{etcd}/etcd:{}", host.text("{{ etcd_image_tag }}")?));
    }
    Ok(lines)
}

/// A field of ClusterConfiguration that stands at the beginning of a line of the template.
fn field(host: &Host<'_>, template: &str, name: &str, other: &str) -> Result<String, Problem> {
    let written = template.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    host.text(written.unwrap_or(other).trim())
}
