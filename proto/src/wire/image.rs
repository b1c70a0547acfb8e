//! FIND and FOUND: the search for an image, or for all images, and its answer.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{NodeId, parse_hex32};
use crate::json::Value;
use crate::limits;
use crate::util::file_name::is_device;
use crate::wire::codec::{Malformed, Typed, read, to_frame, wrong};

/// The name of an image: one component of a path, which every file system and every page can show.
///
/// It has at most [`limits::IMAGE_NAME_BYTES`] of UTF-8, no `/` or `\`, no control characters, none
/// that change the direction of text, and no dot at the start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

/// A text that is no name of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image's name is {0}")]
pub struct InvalidImageName(&'static str);

impl ImageName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let turns = |one: char| matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if text.is_empty() || text.len() > limits::IMAGE_NAME_BYTES {
            return Err(InvalidImageName("1 to 200 bytes long"));
        }
        if text.starts_with('.') {
            return Err(InvalidImageName("one that does not begin with a dot"));
        }
        if text.contains(['/', '\\']) {
            return Err(InvalidImageName("that of a file in the folder images, without / and \\"));
        }
        // Windows opens a stream of a file, or a file of another name.
        if text.contains(':') || text.ends_with(['.', ' ']) {
            return Err(InvalidImageName("one without a colon, and without a dot or a blank at its end"));
        }
        if is_device(text) {
            return Err(InvalidImageName("not that of a device of Windows, such as CON, NUL or COM1"));
        }
        if text.chars().any(|one| one.is_control() || turns(one)) {
            return Err(InvalidImageName("one without control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a search: 16 random bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(pub [u8; 16]);

impl fmt::Display for SearchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SearchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SearchId({self})")
    }
}

impl FromStr for SearchId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        let length = text.len() == 32 && HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        length.then_some(Self(bytes)).ok_or("expected a search's id: 32 hexadecimal digits")
    }
}

/// FIND: the sender searches an image. It is flooded over native peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// The search.
    pub id: SearchId,
    /// The image; `None`: a list of all images.
    pub name: Option<ImageName>,
    /// The number of links that it may still travel, the one that it comes on included.
    pub hops: u32,
}

/// FOUND: a node has what was searched. It goes back the way that the FIND came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The search.
    pub id: SearchId,
    /// The node that has it.
    pub node: NodeId,
    /// Where that node is dialled for the transfer.
    pub address: PeerAddress,
    /// What that node has, at most [`limits::FOUND_IMAGES`].
    pub images: Vec<ImageInfo>,
}

/// An image that a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its name.
    pub name: ImageName,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content. A list of images leaves it out: it would cost reading them all.
    pub sha256: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct FindOnWire {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    hops: u32,
}

#[derive(Serialize, Deserialize)]
struct FoundOnWire {
    id: String,
    node: String,
    address: String,
    images: Vec<ImageOnWire>,
}

#[derive(Serialize, Deserialize)]
struct ImageOnWire {
    name: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Find {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let find: FindOnWire = read(frame, "FIND")?;
        let name = find.name.map(|name| name.parse()).transpose().map_err(|error| wrong("FIND", error))?;
        Ok(Self { id: find.id.parse().map_err(|error| wrong("FIND", error))?, name, hops: find.hops })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        let name = self.name.as_ref().map(ToString::to_string);
        to_frame(&Typed { r#type: "FIND", data: &FindOnWire { id: self.id.to_string(), name, hops: self.hops } })
    }
}

impl Found {
    pub(crate) fn read(frame: Value<'_>) -> Result<Self, Malformed> {
        let found: FoundOnWire = read(frame, "FOUND")?;
        let images = found.images.into_iter().take(limits::FOUND_IMAGES).filter_map(ImageOnWire::read).collect();
        Ok(Self {
            id: found.id.parse().map_err(|error| wrong("FOUND", error))?,
            node: found.node.parse().map_err(|error| wrong("FOUND", error))?,
            address: found.address.parse().map_err(|error| wrong("FOUND", error))?,
            images,
        })
    }

    /// Returns the frame.
    pub fn to_frame(&self) -> Frame {
        let images = self.images.iter().map(|image| ImageOnWire {
            name: image.name.to_string(),
            size: image.size,
            sha256: image.sha256.map(|digest| HEXLOWER.encode(&digest)),
        });
        let data = FoundOnWire {
            id: self.id.to_string(),
            node: self.node.to_string(),
            address: self.address.to_string(),
            images: images.collect(),
        };
        to_frame(&Typed { r#type: "FOUND", data: &data })
    }
}

impl ImageOnWire {
    /// Reads an entry; `None` if it is no image: it is left out, and the rest of the answer counts.
    fn read(self) -> Option<ImageInfo> {
        let sha256 = match self.sha256 {
            Some(text) => Some(parse_hex32(&text)?),
            None => None,
        };
        Some(ImageInfo { name: self.name.parse().ok()?, size: self.size, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;
    use crate::wire::Message;

    #[test]
    fn a_name_is_one_component_of_a_path() {
        for name in ["cat.jpg", "Katze äöü.png", "猫.webp", "a", "no extension", "a..b", "-rf", &"x".repeat(200)] {
            assert_eq!(name.parse::<ImageName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/etc/passwd",
            "..\\b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{7f}",
            "gpj\u{202e}exe.",
            &"x".repeat(201),
        ] {
            assert!(name.parse::<ImageName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn find_and_found_are_read_as_they_were_written() {
        let find = Find { id: SearchId([7; 16]), name: Some("cat.jpg".parse().unwrap()), hops: 3 };
        let all = Find { name: None, ..find.clone() };
        for find in [find, all] {
            let Ok(Message::Find(read)) = Message::parse(&mut Parser::new(), find.to_frame().as_str()) else {
                panic!()
            };
            assert_eq!(read, find);
        }
        let image = |name: &str, sha256| ImageInfo { name: name.parse().unwrap(), size: 9, sha256 };
        let found = Found {
            id: SearchId([7; 16]),
            node: NodeId([1; 32]),
            address: "ws://localhost:4001".parse().unwrap(),
            images: vec![image("cat.jpg", Some([3; 32])), image("dog.jpg", None)],
        };
        let Ok(Message::Found(read)) = Message::parse(&mut Parser::new(), found.to_frame().as_str()) else { panic!() };
        assert_eq!(read, found);
    }

    #[test]
    fn entries_that_are_no_images_are_left_out_of_a_found_and_make_a_find_malformed() {
        let id = "07".repeat(16);
        let text = format!(
            r#"{{"type":"FOUND","data":{{"id":"{id}","node":"{}","address":"ws://localhost:1","images":[{{"name":"../x","size":1}},{{"name":"a","size":1,"sha256":"00"}},{{"name":"b","size":2}}]}}}}"#,
            "01".repeat(32)
        );
        let Ok(Message::Found(read)) = Message::parse(&mut Parser::new(), &text) else { panic!() };
        assert_eq!(read.images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["b"]);
        for data in [
            format!(r#"{{"id":"{id}","name":"../x","hops":1}}"#),
            r#"{"id":"07","name":"x","hops":1}"#.to_owned(),
            format!(r#"{{"id":"{id}","name":"x","hops":-1}}"#),
        ] {
            let text = format!(r#"{{"type":"FIND","data":{data}}}"#);
            assert!(Message::parse(&mut Parser::new(), &text).is_err(), "{text}");
        }
    }
}
