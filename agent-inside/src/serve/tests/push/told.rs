//! What is told of pushes: long lists of referrers, the audit log, the status page.

use super::*;

#[tokio::test]
async fn a_list_of_long_referrers_comes_in_pages_that_link_to_each_other() {
    let site = pushable(1 << 30);
    site.push_blob("apps/x", b"config").await;
    let subject = image(b"config", &[], "");
    site.put_manifest("/v2/apps/x/manifests/1", subject.clone()).await;
    let named = digest(subject.as_bytes());
    let long = "a".repeat(3 << 20);
    let mut pushed = vec![];
    for number in 0..3 {
        let more = format!(
            ",\"subject\":{{\"mediaType\":\"{IMAGE}\",\"digest\":\"{named}\",\"size\":{}}},\
             \"artifactType\":\"a b/c\",\"annotations\":{{\"{number}\":\"{long}\"}}",
            subject.len()
        );
        let referrer = image(b"config", &[], &more);
        let digest = digest(referrer.as_bytes());
        let put = site.put_manifest(&format!("/v2/apps/x/manifests/{digest}"), referrer).await;
        assert_eq!(put.status, 201, "{}", put.text());
        pushed.push(digest);
    }
    pushed.sort();
    let mut path = format!("/v2/apps/x/referrers/{named}?artifactType=a+b/c");
    for (number, expected) in pushed.iter().enumerate() {
        let page = site.get(&path).await;
        let listed = page.json()["manifests"].clone();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["digest"]), (1, &json!(expected)));
        assert!(page.body.len() < limits::REFERRERS_PAGE_LEN_BYTES_MAX);
        assert_eq!(page.header("oci-filters-applied"), "artifactType");
        let link = page.header(header::LINK);
        assert_eq!(link.is_empty(), number == 2, "{link}");
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
}

#[tokio::test]
async fn who_pushed_and_deleted_is_in_the_audit_log_and_the_page_counts_what_is_there() {
    let site = pushable(1 << 20);
    site.switch(&[&[]]);
    site.push_blob("apps/x", b"config").await;
    let manifest = image(b"config", &[], "");
    let named = digest(manifest.as_bytes());
    assert_eq!(site.put_manifest("/v2/apps/x/manifests/1", manifest.clone()).await.status, 201);
    assert_eq!(site.put_manifest("/v2/apps/x/manifests/2", "{").await.status, 400);
    let bytes = manifest.len() as u64 + 6;
    let page = site.get("/").await;
    let row = format!(
        "<td>apps/</td><td class=\"number\">1</td><td class=\"number\">1</td>\
         <td class=\"number\">1</td><td class=\"number\">{}</td>\
         <td class=\"number\">1048576</td>",
        bytes + 3 * limits::PUSHED_DOCUMENT_LEN_BYTES
    );
    assert!(page.text().contains(&row), "{row}\n{}", page.text());
    let blob = digest(b"config");
    for path in [
        "/v2/apps/x/manifests/1".to_owned(),
        format!("/v2/apps/x/manifests/{named}"),
        format!("/v2/apps/x/blobs/{blob}"),
    ] {
        assert_eq!(site.push("DELETE", &path, "").await.status, 202, "{path}");
        assert_eq!(site.push("DELETE", &path, "").await.status, 404, "{path}");
    }
    let log = fs::read_to_string(site.root().join("state/audit.log")).unwrap();
    let lines = log.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("at").is_some());
        line
    });
    let pushed = |event| {
        json!({"event": event, "user": "ci", "repository": "apps/x", "digest": named,
            "tags": ["1"], "bytes": bytes})
    };
    let deleted = |event, reference: &str| json!({"event": event, "user": "ci", "repository": "apps/x", "reference": reference, "tags": []});
    let blob = format!("blob {blob}");
    let mut expected = vec![pushed("pushing"), pushed("pushed")];
    for reference in ["1", &named, &blob] {
        expected.extend([deleted("deleting", reference), deleted("deleted", reference)]);
    }
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}
