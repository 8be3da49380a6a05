//! The template as text, edits of it, and what the rules say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use policy::admit::{Circumstances, Judgement, admit};
use policy::date::Date;
use policy::model::PolicySet;
use policy::model::records::RuleRecord;
use policy::read::{Reading, read};
use policy::rules::digests;
use policy::snapshot::{Entry, Snapshot};

use super::breaks::{Break, Edit};

/// File names below the policy root, and what they say.
pub(crate) type Files = BTreeMap<String, String>;

/// The template's documents.
pub(crate) fn template() -> Files {
    let mut files = Files::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies-template/policies"), "", &mut files);
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// The day on which the tests judge: three weeks after the reviews of the template.
pub(crate) fn today() -> Circumstances {
    Circumstances::on(Date::new(2026, 2, 1).unwrap())
}

/// The template as the set in force.
pub(crate) fn enforced() -> Arc<PolicySet> {
    Arc::new(reading(&template()).set)
}

/// What the rules say of these files.
pub(crate) fn judge(files: &Files, circumstances: &Circumstances) -> Judgement {
    admit(reading(files), circumstances)
}

fn reading(files: &Files) -> Reading {
    let entries = files.iter().map(|(name, text)| (name.clone(), Entry::File(text.clone().into_bytes())));
    read(&Snapshot { entries: entries.collect() })
}

/// What the rules say of a broken template.
pub(crate) fn broken(case: &Break) -> Judgement {
    let mut files = template();
    case.edits.iter().for_each(|edit| apply(edit, &mut files, case));
    if case.reviewed {
        review(&mut files);
    }
    let mut circumstances = today();
    (case.world)(&mut circumstances);
    judge(&files, &circumstances)
}

fn apply(edit: &Edit, files: &mut Files, case: &Break) {
    let text = files.get_mut(edit.file).unwrap_or_else(|| panic!("{}: no file {}", case.rule, edit.file));
    let start = text.find(edit.after).unwrap_or_else(|| panic!("{}: {:?} is not in {}", case.rule, edit.after, edit.file));
    let old = text[start..].find(edit.old).unwrap_or_else(|| panic!("{}: {:?} is not in {}", case.rule, edit.old, edit.file));
    text.replace_range(start + old..start + old + edit.old.len(), edit.new);
}

/// Somebody reviews what the rules say now: the digests in the records become today's.
fn review(files: &mut Files) {
    let set = reading(files).set;
    for known in digests(&set) {
        let of_rule = |record: &&RuleRecord| record.policy == known.policy.name && Some(&record.rule) == known.rule.name.as_ref();
        let Some(record) = set.records.iter().find(of_rule) else { continue };
        if let Some(old) = record.reviewed_digest {
            let text = files.get_mut(&*record.origin.place.file).unwrap();
            *text = text.replace(&old.to_string(), &known.digest.to_string());
        }
    }
}
