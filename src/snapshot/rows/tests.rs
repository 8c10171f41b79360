//! The layout, pinned to the schema version. Where one of these differs, [`crate::header::SCHEMA`] goes up, and then what is
//! expected here changes with it.

use expect_test::expect;
use rkyv::Archived;

use crate::header::{FIXED_BYTES, HEADER_BYTES, SCHEMA, SECTION_ALIGN, Section};
use crate::model;
use crate::rows::{
    ApplicationRow, ConditionRow, CredentialRow, ExtraRow, HostRow, MetaRow, NodeRow, RouteRow, Row, SlotRow,
    TextRow, VariableRow,
};
use crate::sample::{built, opened, sample};

fn row<R: Row>(name: &str) -> String {
    let mut offset = 0;
    let fields = R::FIELDS.iter().map(|(field, size)| {
        let text = format!(" {field}@{offset}");
        offset += size;
        text
    });
    format!("{name} {}:{}\n", R::SIZE, fields.collect::<String>())
}

#[test]
fn rows_are_laid_out_as_the_schema_version_says() {
    let rows = [
        row::<MetaRow>("meta"),
        row::<SlotRow>("slot"),
        row::<TextRow>("text"),
        row::<HostRow>("host"),
        row::<RouteRow>("route"),
        row::<ExtraRow>("extra"),
        row::<ConditionRow>("condition"),
        row::<VariableRow>("variable"),
        row::<NodeRow>("node"),
        row::<CredentialRow>("credential"),
        row::<ApplicationRow>("application"),
    ];
    expect![[r#"
        meta 24: seed@0 wildcard_labels_max@8 any_host@12 paths@16 reserved@20
        slot 8: tag@0 index@4
        text 8: offset@0 length@4 reserved@6
        host 32: name_offset@0 name_length@4 kind@6 path_policy@7 route_first@8 route_count@12 prefix_depths@16 template_root@24 regex_count@28 depth@30 exact@31
        route 32: id@0 text_offset@8 name_length@12 path_length@14 methods@16 flags@18 chain@20 action@24 extra@28
        extra 36: method_first@0 header_first@4 query_first@8 variable_first@12 path_regex@16 body_bytes_max@20 method_count@28 header_count@30 query_count@32 variable_count@34
        condition 16: name_offset@0 value@4 name_length@8 value_length@10 kind@12 reserved@14
        variable 8: name_offset@0 name_length@4 segment@6
        node 24: parent@0 text_offset@4 text_length@8 kind@10 variable@12 end@16 rest@20
        credential 72: digest@0 id@32 not_after_unix_ms@48 application@56 pepper_id@60 prefix_offset@64 prefix_length@68 reserved@70
        application 32: id@0 name_offset@16 credential_first@20 credential_count@24 name_length@28 reserved@30
    "#]].assert_eq(&rows.concat());
}

#[test]
fn header_and_sections_are_laid_out_as_the_schema_version_says() {
    let sections = Section::ALL.map(|section| format!(" {section:?}={}", section as u32));
    let printed = format!(
        "schema {SCHEMA} fixed {FIXED_BYTES} header {HEADER_BYTES} align {SECTION_ALIGN}\n{}\n",
        sections.concat()
    );
    expect![[r#"
        schema 5 fixed 160 header 736 align 64
         Meta=1 Arena=2 HostSlots=3 Hosts=4 PathSlots=5 Routes=6 Extras=7 Conditions=8 Methods=9 Variables=10 Regexes=11 NodeSlots=12 Nodes=13 CredentialSlots=14 Credentials=15 Applications=16 Settings=17 Listeners=18 Tls=19 Upstreams=20 Authenticators=21 Limits=22 Chains=23 Actions=24
    "#]].assert_eq(&printed);
}

#[test]
fn archived_types_are_laid_out_as_the_schema_version_says() {
    let printed = format!(
        "settings {} listener {} tls {} certificate {} upstream {} endpoint {} authenticator {} limit {} chain {} \
         step {} action {} sealed {}\n",
        size_of::<Archived<model::Settings>>(),
        size_of::<Archived<model::Listener>>(),
        size_of::<Archived<model::TlsProfile>>(),
        size_of::<Archived<model::Certificate>>(),
        size_of::<Archived<model::Upstream>>(),
        size_of::<Archived<model::Endpoint>>(),
        size_of::<Archived<model::Authenticator>>(),
        size_of::<Archived<model::Limit>>(),
        size_of::<Archived<model::Chain>>(),
        size_of::<Archived<model::Step>>(),
        size_of::<Archived<model::Action>>(),
        size_of::<Archived<crate::seal::Sealed>>(),
    );
    expect![[r#"
        settings 128 listener 48 tls 36 certificate 48 upstream 160 endpoint 40 authenticator 28 limit 56 chain 16 step 24 action 76 sealed 24
    "#]].assert_eq(&printed);
}

/// One of everything, down to the last byte: neither layout nor hash function nor order may change unnoticed.
#[test]
fn a_file_of_this_schema_version_never_changes() {
    let file = built(&sample());
    let printed = format!("{} bytes, content {}\n", file.len(), opened(&file).unwrap().header().hash);
    expect![[r#"
        3220 bytes, content 43bf39fb0518549701b44b32d6710dedde708ee5f5714ef8442c448dffc41960
    "#]]
    .assert_eq(&printed);
}
