//! What is in the chart: sixty templates, values, a README, resource definitions, dashboards.
//!
//! In:   a version.
//! Out:  texts, the same for the same version. The newer one changes what a patch release of a
//!       real chart changes: image tags, a new value, a line here and there.

use std::fmt::Write as _;

use super::VERSIONS;

pub const CHART: &str = "ferry-stack";
const COMPONENTS: [&str; 12] = [
    "api",
    "worker",
    "scheduler",
    "gateway",
    "cache",
    "indexer",
    "mailer",
    "metrics",
    "proxy",
    "registry",
    "reporter",
    "webhook",
];
const KINDS: [&str; 5] = ["deployment", "service", "serviceaccount", "configmap", "networkpolicy"];

/// Every file of the chart, as Helm orders them.
pub fn files(version: &str) -> Vec<(String, String)> {
    let newer = version == VERSIONS[1];
    let mut files = vec![
        ("Chart.yaml".to_owned(), chart_yaml(version)),
        ("values.yaml".to_owned(), values(version, newer)),
        ("README.md".to_owned(), readme(version, newer)),
        ("templates/_helpers.tpl".to_owned(), HELPERS.to_owned()),
        ("templates/NOTES.txt".to_owned(), format!("{CHART} {version} is installed.\n")),
    ];
    for (at, component) in COMPONENTS.into_iter().enumerate() {
        files.push((format!("crds/{component}.yaml"), definition(at, component, newer)));
        files.push((format!("dashboards/{component}.json"), dashboard(at, component, newer)));
        for kind in KINDS {
            let name = format!("templates/{component}/{kind}.yaml");
            files.push((name, template(component, kind, newer)));
        }
    }
    files
}

fn chart_yaml(version: &str) -> String {
    format!(
        "apiVersion: v2\nname: {CHART}\nversion: {version}\nappVersion: \"{version}\"\n\
         type: application\nkubeVersion: \">= 1.27.0-0\"\ndescription: A stack of {} services\n",
        COMPONENTS.len()
    )
}

fn values(version: &str, newer: bool) -> String {
    let mut text = "# Every value may be set for one component alone.\nglobal:\n  \
                    imageRegistry: registry.example.test\n  imagePullSecrets: []\n"
        .to_owned();
    for (at, component) in COMPONENTS.iter().enumerate() {
        let port = 8000 + at * 11;
        let memory = 64 + at * 32;
        write!(
            text,
            "\n# -- {sentence}\n{component}:\n  enabled: true\n  replicas: {}\n  image:\n    \
             repository: ferry/{component}\n    tag: \"{version}\"\n    digest: sha256:{digest}\n  \
             service:\n    type: ClusterIP\n    port: {port}\n  resources:\n    requests:\n      \
             cpu: {}m\n      memory: {memory}Mi\n    limits:\n      memory: {}Mi\n  \
             nodeSelector: {{}}\n  tolerations: []\n  affinity: {{}}\n",
            1 + at % 3,
            50 + at * 5,
            memory * 2,
            sentence = sentence(at, 14),
            digest = ::tests::fixtures::sha256(format!("{component}{version}").as_bytes()),
        )
        .expect("a string takes all");
        if newer && at % 6 == 1 {
            text += "  # -- How long a pod may take to stop\n  terminationGracePeriodSeconds: 45\n";
        }
    }
    text
}

fn readme(version: &str, newer: bool) -> String {
    let mut text = format!(
        "# {CHART}\n\nVersion {version}.\n\n| value | default | meaning |\n|---|---|---|\n"
    );
    for (at, component) in COMPONENTS.iter().enumerate() {
        for (row, value) in ["enabled", "replicas", "image.tag", "service.port", "resources"]
            .into_iter()
            .enumerate()
        {
            let meaning = sentence(at * 7 + row, 12);
            writeln!(text, "| `{component}.{value}` | see `values.yaml` | {meaning} |")
                .expect("a string takes all");
        }
    }
    if newer {
        text += "\n## Upgrading\n\nPods now get 45 seconds to stop where that is set.\n";
    }
    text
}

fn template(component: &str, kind: &str, newer: bool) -> String {
    let head = format!(
        "{{{{- if .Values.{component}.enabled }}}}\n# {}\n",
        sentence(component.len() * 31 + kind.len() * 7, 16)
    );
    let meta = format!(
        "metadata:\n  name: {{{{ include \"stack.fullname\" . }}}}-{component}\n  labels:\n    \
         {{{{- include \"stack.labels\" . | nindent 4 }}}}\n    app.kubernetes.io/component: {component}\n"
    );
    let body = match kind {
        "deployment" => deployment(component, &meta, newer),
        "service" => format!(
            "apiVersion: v1\nkind: Service\n{meta}spec:\n  type: {{{{ .Values.{component}.service.type }}}}\n  \
             ports:\n    - name: http\n      port: {{{{ .Values.{component}.service.port }}}}\n      \
             targetPort: http\n  selector:\n    app.kubernetes.io/component: {component}\n"
        ),
        "serviceaccount" => format!(
            "apiVersion: v1\nkind: ServiceAccount\n{meta}automountServiceAccountToken: false\n"
        ),
        "configmap" => format!(
            "apiVersion: v1\nkind: ConfigMap\n{meta}data:\n  {component}.yaml: |\n    \
             log: {{level: info, format: json}}\n    listen: 0.0.0.0:{{{{ .Values.{component}.service.port }}}}\n    \
             # {}\n",
            sentence(component.len() * 13, 30)
        ),
        _ => format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n{meta}spec:\n  podSelector:\n    \
             matchLabels:\n      app.kubernetes.io/component: {component}\n  policyTypes: [Ingress]\n  \
             ingress:\n    - ports:\n        - port: http\n"
        ),
    };
    format!("{head}{body}{{{{- end }}}}\n")
}

fn deployment(component: &str, meta: &str, newer: bool) -> String {
    let grace = if newer && component.len() % 4 == 2 {
        format!(
            "      terminationGracePeriodSeconds: {{{{ .Values.{component}.terminationGracePeriodSeconds | default 30 }}}}\n"
        )
    } else {
        String::new()
    };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\n{meta}spec:\n  \
         replicas: {{{{ .Values.{component}.replicas }}}}\n  selector:\n    matchLabels:\n      \
         app.kubernetes.io/component: {component}\n  template:\n    metadata:\n      labels:\n        \
         app.kubernetes.io/component: {component}\n    spec:\n{grace}      \
         serviceAccountName: {{{{ include \"stack.fullname\" . }}}}-{component}\n      containers:\n        \
         - name: {component}\n          image: {{{{ include \"stack.image\" .Values.{component}.image }}}}\n          \
         ports:\n            - name: http\n              containerPort: {{{{ .Values.{component}.service.port }}}}\n          \
         resources: {{{{- toYaml .Values.{component}.resources | nindent 12 }}}}\n          \
         securityContext:\n            runAsNonRoot: true\n            readOnlyRootFilesystem: true\n      \
         {{{{- with .Values.{component}.nodeSelector }}}}\n      nodeSelector: {{{{- toYaml . | nindent 8 }}}}\n      \
         {{{{- end }}}}\n"
    )
}

const HELPERS: &str = "{{- define \"stack.fullname\" -}}\n{{- .Release.Name | trunc 50 -}}\n{{- end }}\n\
    {{- define \"stack.image\" -}}\n{{ .repository }}:{{ .tag }}@{{ .digest }}\n{{- end }}\n\
    {{- define \"stack.labels\" -}}\napp.kubernetes.io/instance: {{ .Release.Name }}\n\
    app.kubernetes.io/managed-by: {{ .Release.Service }}\n{{- end }}\n";

/// A resource definition with a long schema, of which the newer version describes one field more.
fn definition(at: usize, component: &str, newer: bool) -> String {
    let mut text = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  \
         name: {component}s.ferry.example.test\nspec:\n  group: ferry.example.test\n  \
         scope: Namespaced\n  versions:\n    - name: v1\n      served: true\n      storage: true\n      \
         schema:\n        openAPIV3Schema:\n          type: object\n          properties:\n"
    );
    let fields = 120 + usize::from(newer && at == 4);
    for field in 0..fields {
        let seed = at * 1_000 + field;
        writeln!(
            text,
            "            {}:\n              type: {}\n              description: {}",
            sentence(seed, 2).replace(' ', "-"),
            ["string", "integer", "boolean"][field % 3],
            sentence(seed + 500, 18 + field % 17),
        )
        .expect("a string takes all");
    }
    text
}

/// A dashboard of many panels, of which the newer version names one anew.
fn dashboard(at: usize, component: &str, newer: bool) -> String {
    let mut text = format!("{{\n  \"title\": \"{component}\",\n  \"panels\": [\n");
    for panel in 0..48 {
        let seed = 50_000 + at * 100 + panel;
        let renamed = usize::from(newer && (at, panel) == (7, 20));
        writeln!(
            text,
            "    {{\n      \"id\": {panel},\n      \"title\": \"{}\",\n      \"type\": \"timeseries\",\n      \
             \"gridPos\": {{\"h\": 8, \"w\": 12, \"x\": {}, \"y\": {}}},\n      \
             \"description\": \"{}\",\n      \"targets\": [{{\"expr\": \"sum(rate({}_total[5m])) by (pod)\"}}]\n    }},",
            sentence(seed + renamed * 7, 4),
            panel % 2 * 12,
            panel / 2 * 8,
            sentence(seed + 10_000, 22),
            sentence(seed + 20_000, 3).replace(' ', "_"),
        )
        .expect("a string takes all");
    }
    text + "    {\"id\": 48, \"type\": \"row\"}\n  ]\n}\n"
}

/// A line of prose, the same for the same seed: frequent words are short, rare ones long.
fn sentence(seed: usize, words: usize) -> String {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let picked = (0..words).map(|_| {
        let rank = next(40) * next(40);
        word(rank)
    });
    picked.collect::<Vec<_>>().join(" ")
}

/// The word of a rank, made of syllables.
fn word(mut rank: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "po", "the", "ser", "for", "vi", "ing", "con", "no", "de", "ta", "re", "mo", "lim", "cy",
        "se", "ru",
    ];
    let mut word = String::new();
    loop {
        let at = usize::try_from(rank % 16).unwrap_or(0);
        word += SYLLABLES[at];
        rank /= 16;
        if rank == 0 {
            return word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_changes_a_few_files_of_many() {
        let [old, new] = VERSIONS.map(files);
        let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        assert_eq!((old.len(), new.len()), (89, 89));
        assert!((5..14).contains(&changed), "{changed}");
    }
}
