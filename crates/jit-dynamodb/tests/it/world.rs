//! Tables on a server of the test's own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use jit_dynamodb::{DynamoStore, create_table};
use jit_testkit::server::{Server, dynoxide};

use crate::faulty::{Faulty, as_in_production};

/// A row as DynamoDB gives it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A server and how many tables it was asked for.
pub(crate) struct World {
    server: Server,
    tables: AtomicU32,
}

/// A client's configuration for the server at this address.
pub(crate) fn config_for(url: &str) -> aws_sdk_dynamodb::config::Builder {
    let credentials = Credentials::new("test", "test", None, None, "test");
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(credentials)
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(dynoxide())
    }

    pub(crate) fn on(server: Server) -> Self {
        Self {
            server,
            tables: AtomicU32::new(0),
        }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        config_for(&self.server.url())
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

    /// A client behind a network that fails as it is told.
    pub(crate) fn faulty_client(&self, network: &Faulty) -> Client {
        let config = as_in_production(self.config()).http_client(network.clone());
        Client::from_conf(config.build())
    }

    /// A store behind such a network, one on the same table without, and the table.
    pub(crate) async fn faulty(&self) -> (DynamoStore, Faulty, DynamoStore, String) {
        let (network, table) = (Faulty::new(), self.table().await);
        let client = self.faulty_client(&network);
        let store = DynamoStore::open(client, &table).await.unwrap();
        network.calls();
        let other = self.open(&table).await;
        (store, network, other, table)
    }

    /// Every row of a table.
    pub(crate) async fn scan(&self, table: &str) -> Vec<Item> {
        let (client, mut rows, mut begin) = (self.client(), Vec::new(), None);
        loop {
            let page = client
                .scan()
                .table_name(table)
                .set_exclusive_start_key(begin);
            let page = page.send().await.unwrap();
            rows.extend(page.items.unwrap_or_default());
            begin = page.last_evaluated_key;
            if begin.is_none() {
                return rows;
            }
        }
    }

    /// Writes a row past the store.
    pub(crate) async fn put(&self, table: &str, item: Item) {
        let put = self.client().put_item().table_name(table);
        put.set_item(Some(item)).send().await.unwrap();
    }

    /// Removes a row past the store.
    pub(crate) async fn delete(&self, table: &str, pk: &str, sk: &str) {
        let gone = self.client().delete_item().table_name(table);
        let gone = gone.key("pk", text(pk)).key("sk", text(sk));
        gone.send().await.unwrap();
    }
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A text attribute of a row.
pub(crate) fn of<'a>(item: &'a Item, name: &str) -> &'a str {
    item[name].as_s().unwrap()
}
