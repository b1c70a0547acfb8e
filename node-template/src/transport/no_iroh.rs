//! Stands in for the iroh transport in a program built without the feature `wan`: none of its
//! values can exist.

#![allow(clippy::unused_async, reason = "with the feature they wait")]

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshpool_proto::SourceGroup;
use meshpool_proto::address::{PeerAddress, RelayHint};
use meshpool_proto::causes::RelayFault;
use meshpool_proto::id::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::transport::dial_permit::{DialPermits, NamedBy, Permit};
use crate::transport::dial_progress::DialProgress;
use crate::transport::link_path::LinkPath;

pub(crate) mod endpoint {
    pub(crate) use super::{Incoming, Wan};
}

pub(crate) mod connection {
    pub(crate) use super::IrohConnection;
}

pub(crate) mod stream {
    pub(crate) use super::IrohStream;
}

#[derive(Debug)]
pub(crate) struct IrohStream(Infallible);

#[derive(Debug, Clone)]
pub(crate) struct IrohConnection(Infallible);

#[derive(Debug, Clone)]
pub(crate) struct Wan(Infallible);

pub(crate) struct Incoming(Infallible);

impl IrohStream {
    pub(crate) fn connection(&self) -> IrohConnection {
        match self.0 {}
    }

    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        match self.0 {}
    }
}

impl IrohConnection {
    pub(crate) fn node(&self) -> NodeId {
        match self.0 {}
    }

    pub(crate) fn path(&self) -> Option<(LinkPath, Duration)> {
        match self.0 {}
    }

    pub(crate) fn is_relayed(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn direct(&self) -> Option<IpAddr> {
        match self.0 {}
    }

    pub(crate) fn remote(&self) -> IpAddr {
        match self.0 {}
    }
}

impl Incoming {
    pub(crate) async fn accept(self) -> io::Result<IrohStream> {
        match self.0 {}
    }
}

impl Wan {
    pub(crate) async fn close(&self) {
        match self.0 {}
    }

    pub(crate) fn start(&self) {
        match self.0 {}
    }

    pub(crate) fn address(&self) -> watch::Receiver<Option<PeerAddress>> {
        match self.0 {}
    }

    pub(crate) async fn home_fault(&self) -> Option<(RelayHint, RelayFault)> {
        match self.0 {}
    }

    pub(crate) fn name_relays(&self, _: &[PeerAddress]) -> Vec<RelayHint> {
        match self.0 {}
    }

    pub(crate) async fn add_named(&self, _: Vec<RelayHint>) {
        match self.0 {}
    }

    pub(crate) fn has_relays(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn bind_fault(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) async fn learn_relay(&self, _: (RelayHint, SocketAddr), _: &[SourceGroup], _: &Arc<DialPermits>) {
        match self.0 {}
    }

    pub(crate) async fn connect(
        &self,
        _: &PeerAddress,
        _: &NamedBy,
        _: &Arc<DialPermits>,
        _: &DialProgress,
    ) -> io::Result<(IrohStream, Vec<Permit>)> {
        match self.0 {}
    }
}

impl AsyncRead for IrohStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for IrohStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
