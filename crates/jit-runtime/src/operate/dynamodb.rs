//! `dynamodb create-table`: the table of the store, made by us or by CloudFormation.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use jit_dynamodb::{Settings, client, cloudformation, create_table};

use super::{OperateError, Outcome};
use crate::build::StoreError;
use crate::config::{Config, Environment, Store};

/// About a store in DynamoDB.
#[derive(Debug, Subcommand)]
pub enum DynamoDbVerb {
    /// Make the table that the configuration names, or see that it is there and ours
    CreateTable {
        /// The configuration file
        #[arg(
            long,
            env = "JIT_CONFIG",
            value_name = "FILE",
            default_value = "jit.toml"
        )]
        config: PathBuf,
        /// Make nothing: print a CloudFormation template that makes it
        #[arg(long)]
        print_cloudformation: bool,
    },
}

impl DynamoDbVerb {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the configuration names no table, or the table cannot be made.
    pub async fn run(
        self,
        environment: &Environment,
        out: &mut (dyn Write + Send),
    ) -> Result<Outcome, OperateError> {
        let Self::CreateTable {
            config,
            print_cloudformation,
        } = self;
        let config = Config::read_before_tokens(&config, environment)?;
        let Store::DynamoDb(settings) = &config.store else {
            return Err(OperateError::NoTable);
        };
        if print_cloudformation {
            writeln!(out, "{:#}", cloudformation(&settings.table))?;
            return Ok(Outcome::Well);
        }
        make(settings).await.map_err(StoreError::from)?;
        writeln!(out, "the table {} is there and ours", settings.table)?;
        Ok(Outcome::Well)
    }
}

async fn make(settings: &Settings) -> Result<(), jit_dynamodb::OpenError> {
    create_table(&client(settings).await?, &settings.table).await
}
