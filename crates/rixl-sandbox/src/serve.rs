//! The server's thread, its accept loop, and connections that can end without a response.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::fault::Ending;
use crate::routes::lock;

/// How long a peer may take to close its side after the sandbox closed its own.
const LINGER: Duration = Duration::from_secs(10);

/// A running server. Dropping it stops it: the thread is joined, and with it every connection and the port are gone.
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds the address, then serves the router on its own thread.
    pub(crate) fn start(address: SocketAddr, router: Router) -> io::Result<(Self, SocketAddr)> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("rixl-sandbox".to_owned())
            .spawn(move || runtime.block_on(accept(listener, router, stopped)))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error here is a panic of the server, which must not become a second one in whoever drops the handle.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone()));
                }
                // Out of file descriptors, most likely: some come back when connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    // Nagle's algorithm would hold small writes back, which a Drip is made of.
    let _ = stream.set_nodelay(true);
    let ending = Arc::new(Mutex::new(None));
    let wire = Wire { stream, ending: Arc::clone(&ending) };
    let service = service_fn(|request| Box::pin(respond(router.clone(), Arc::clone(&ending), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    // An error is the peer's or a fault's doing; either way the connection is over.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner().stream;
    let is_reset = matches!(*lock(&ending), Some(Ending::Reset));
    if is_reset {
        // With no time to linger, closing sends RST instead of FIN.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    } else {
        let _ = tokio::time::timeout(LINGER, finish(stream)).await;
    }
}

/// Ends the connection with FIN. Closing a socket with unread input would send RST, and the peer could lose a response.
async fn finish(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).shutdown(Shutdown::Write)?;
    let mut rest = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn respond(
    router: Router,
    ending: Arc<Mutex<Option<Ending>>>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let response = match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let requested = response.extensions().get::<Ending>().cloned();
    let has_response = !matches!(requested, Some(Ending::Close | Ending::Reset));
    *lock(&ending) = requested;
    // To hyper an error is a reason to write nothing and give the connection up.
    if has_response { Ok(response) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
}

/// A socket that stops writing where a fault cuts the response.
struct Wire {
    stream: TcpStream,
    ending: Arc<Mutex<Option<Ending>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, ending } = self.get_mut();
        let mut ending = lock(ending);
        let Some(Ending::Cut(cut)) = &mut *ending else { return Pin::new(stream).poll_write(context, bytes) };
        let allowed = bytes.get(..cut.clone().pass(bytes)).unwrap_or_default();
        if allowed.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = ready!(Pin::new(stream).poll_write(context, allowed))?;
        cut.pass(allowed.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, ending } = self.get_mut();
        // Nothing is left to write after a cut at the very end of the response, so it must be noticed here.
        if matches!(&*lock(ending), Some(Ending::Cut(cut)) if cut.is_reached()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
