//! The loaded programs on a real kernel, in network namespaces. Each test makes its own namespaces, interfaces and BPF
//! file system, so tests run side by side. They need root: without it they say what they leave out, and in CI they fail.

mod lab;
mod loading;
mod model;
mod packet;
mod rules;
mod survival;
mod tampering;
mod timing;
mod traffic;
