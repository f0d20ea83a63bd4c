//! Tables on a server of the test's own.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use jit_dynamodb::{DynamoStore, create_table};
use jit_testkit::server::{Server, dynoxide};

/// A server and how many tables it was asked for.
pub(crate) struct World {
    server: Server,
    tables: AtomicU32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            server: dynoxide(),
            tables: AtomicU32::new(0),
        }
    }

    pub(crate) fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        let credentials = Credentials::new("test", "test", None, None, "test");
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(credentials)
            .endpoint_url(self.server.url())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
    }

    pub(crate) fn client(&self) -> Client {
        Client::from_conf(self.config().build())
    }

    /// The name of a fresh table.
    pub(crate) async fn table(&self) -> String {
        let number = self.tables.fetch_add(1, Ordering::Relaxed);
        let name = format!("jit-{number}");
        create_table(&self.client(), &name).await.unwrap();
        name
    }

    pub(crate) async fn open(&self, table: &str) -> DynamoStore {
        DynamoStore::open(self.client(), table).await.unwrap()
    }

    pub(crate) async fn store(&self) -> DynamoStore {
        self.open(&self.table().await).await
    }
}
