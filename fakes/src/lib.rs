//! Fakes for tests and for the demo: engines and clouds with their own state and behaviour.
//!
//! [`FakeCloud`] is EchoStream's whole cloud at the wire level, [`InMemoryRuntime`] is a container engine in memory,
//! [`Faulty`] injects failures into any engine, and [`node_image`] is an image with a small node for real engines.
//!
//! Commands of a cloud are those of its users, and each sends the change message that the real cloud would send:
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use managed_app_fakes::FakeCloud;
//!
//! let cloud = FakeCloud::builder().app("my app").tenant("acme").start().await.expect("127.0.0.1 has free ports");
//! cloud.add_node("reader", |node| node.image("registry.example/reader:1").tcp(8080, 80));
//! cloud.add_node("writer", |node| node.image("registry.example/writer:1"));
//! cloud.connect("reader", "writer");
//! assert_eq!(cloud.pending_changes(), 3);
//! // Settings for a daemon or any AWS client.
//! assert_eq!(cloud.env()["APP"], "my app");
//! assert!(cloud.env()["AWS_ENDPOINT_URL"].starts_with("http://127.0.0.1:"));
//! # });
//! ```
//!
//! An engine in memory follows the trait's contract; [`Faulty`] around it breaks the contract on request:
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use managed_app_fakes::InMemoryRuntime;
//! use managed_app_runtimes::{ContainerRuntime, ErrorKind, ImageReference};
//!
//! let engine = InMemoryRuntime::new();
//! let image: ImageReference = "registry.example/reader:1".parse().expect("a reference");
//! let missing = engine.pull(&image, None, &|_| ()).await.expect_err("it is not published");
//! assert_eq!(missing.kind(), ErrorKind::NotFound);
//! engine.publish_image(&image, b"version 1");
//! engine.pull(&image, None, &|_| ()).await.expect("it is published");
//! # });
//! ```

pub mod cloud;
pub mod faulty;
pub mod memory;
pub mod node_image;

pub use cloud::FakeCloud;
pub use faulty::Faulty;
pub use memory::{Behaviour, InMemoryRuntime, Latencies};
