//! Which outcome a malformed message is: `wire` knows what is wrong, the record knows how it ended.

use ringway_record::outcome::Outcome;
use ringway_wire::reject::{Reject, ResponseReject};

/// The outcome of a request that `wire` refused.
pub(crate) fn request(reject: Reject) -> Outcome {
    match reject {
        Reject::LeadingBytes
        | Reject::BareLf
        | Reject::RequestLine
        | Reject::FieldName
        | Reject::FieldValue
        | Reject::ObsFold
        | Reject::ConnectionSyntax
        | Reject::PseudoField
        | Reject::ConnectionField
        | Reject::Unparsed => Outcome::MalformedHead,
        Reject::TargetByte | Reject::TargetForm => Outcome::MalformedTarget,
        Reject::TargetTooLong => Outcome::TargetTooLong,
        Reject::Version => Outcome::VersionUnsupported,
        Reject::Connect => Outcome::ConnectNotAllowed,
        Reject::HeadTooLarge | Reject::TooManyFields | Reject::TrailersTooLarge => Outcome::HeadTooLarge,
        Reject::HostMissing | Reject::HostTwice | Reject::HostSyntax => Outcome::InvalidHost,
        Reject::CodingInHttp10
        | Reject::CodingWithLength
        | Reject::Coding
        | Reject::LengthSyntax
        | Reject::LengthConflict
        | Reject::StreamContent => Outcome::FramingConflict,
        Reject::Nomination => Outcome::ForbiddenNomination,
        Reject::Expectation => Outcome::ExpectationFailed,
        Reject::Upgrade => Outcome::UpgradeNotAllowed,
        Reject::ChunkSize | Reject::ChunkExtension | Reject::ChunkEnd | Reject::ChunkOverhead => {
            Outcome::MalformedChunk
        }
        Reject::TrailerSyntax => Outcome::MalformedTrailer,
        Reject::BodyCut => Outcome::ClientBodyShort,
        Reject::PathEncoded | Reject::PathPercent | Reject::PathDots => Outcome::ForbiddenPath,
    }
}

/// The outcome of a reply that `wire` refused before its head was relayed.
pub(crate) fn reply(reject: ResponseReject) -> Outcome {
    match reject {
        ResponseReject::StatusLine
        | ResponseReject::BareLf
        | ResponseReject::Field
        | ResponseReject::Connection
        | ResponseReject::TooManyInterims
        | ResponseReject::Status
        | ResponseReject::Frames => Outcome::UpstreamMalformed,
        ResponseReject::Upgrade => Outcome::UpgradeFailed,
        ResponseReject::HeadTooLarge | ResponseReject::TooManyFields => Outcome::UpstreamHeadTooLarge,
        ResponseReject::Length | ResponseReject::Coding => Outcome::UpstreamFraming,
    }
}
