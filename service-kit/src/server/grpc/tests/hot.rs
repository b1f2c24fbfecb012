//! The hot method, as a caller that speaks HTTP/2 sees it.

use bytes::{Bytes, BytesMut};
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

pub(super) const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Answers with the message, unless that asks for something else.
pub(super) struct Echo {
    came: mpsc::Sender<()>,
    gone: mpsc::Sender<()>,
    may_answer: Arc<Semaphore>,
}

/// Tells when a call ends, answered or not.
struct Ends<'a>(&'a mpsc::Sender<()>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

impl Unary for Echo {
    async fn call(
        &self,
        message: Bytes,
        _: HeaderMap,
        deadline: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        let answer = match &*message {
            b"panic" => panic!("as a bug does"),
            b"error" => return Err(Status::invalid_argument("kein Schlüssel: 100 %")),
            b"deadline" => Bytes::from(format!("{deadline:?}")),
            b"wait" => {
                let _ends = Ends(&self.gone);
                self.came.send(()).await.unwrap();
                self.may_answer.acquire().await.unwrap().forget();
                message
            }
            _ => message,
        };
        Ok(move |out: &mut BytesMut| {
            assert!(&*answer != b"panic late", "as a codec does");
            out.extend_from_slice(&answer);
        })
    }
}

/// A port with [`Echo`].
pub(super) struct Hot {
    pub(super) address: Address,
    pub(super) came: mpsc::Receiver<()>,
    pub(super) gone: mpsc::Receiver<()>,
    pub(super) may_answer: Arc<Semaphore>,
    pub(super) trigger: Trigger,
    pub(super) served: JoinHandle<()>,
    pub(super) registry: Registry,
}

impl Hot {
    pub(super) async fn new(limits: Limits) -> Self {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self::on(listener.into(), None, limits)
    }

    pub(super) fn on(listener: Listener, tls: Option<Tls>, limits: Limits) -> Self {
        let address = listener.address().unwrap();
        let ((came_to, came), (gone_to, gone)) = (mpsc::channel(8), mpsc::channel(8));
        let may_answer = Arc::new(Semaphore::new(0));
        let echo = Echo { came: came_to, gone: gone_to, may_answer: may_answer.clone() };
        let server = Server::new(Routes::default()).unary(PATH, echo).limits(limits);
        let mut registry = Registry::default();
        server.register(&mut registry);
        let (shutdown, trigger) = Shutdown::manual();
        let drain = Drain { delay: Duration::ZERO, timeout: Duration::from_secs(60) };
        let ready = Readiness::new(&[]);
        let served = tokio::spawn(server.serve(listener, tls, ready, drain, shutdown));
        Self { address, came, gone, may_answer, trigger, served, registry }
    }

    pub(super) async fn tcp(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(self.address.to_string()).await.unwrap()
    }

    pub(super) async fn caller(&self) -> Caller {
        Caller::on(self.tcp().await).await
    }
}

/// A connection of a caller.
pub(super) struct Caller {
    sender: SendRequest<Bytes>,
    pub(super) ended: JoinHandle<Result<(), h2::Error>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) http: u16,
    pub(super) body: BytesMut,
    /// Trailers, or headers where those are all.
    pub(super) end: HeaderMap,
}

impl Answer {
    pub(super) fn code(&self) -> Option<Code> {
        self.end.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
    }
}

pub(super) fn framed(message: &str) -> Bytes {
    let mut chunk = BytesMut::new();
    wire::frame(&mut chunk, |out| out.extend_from_slice(message.as_bytes()))
}

/// A call that is begun.
pub(super) struct Begun(h2::client::ResponseFuture, pub(super) h2::SendStream<Bytes>);

impl Begun {
    pub(super) async fn answer(self) -> Result<Answer, h2::Error> {
        let (head, mut stream) = soon(self.0).await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(data) = soon(stream.data()).await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        let end = soon(stream.trailers()).await?.unwrap_or(head.headers);
        Ok(Answer { http: head.status.as_u16(), body, end })
    }
}

impl Caller {
    pub(super) async fn on(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self::try_on(io).await.unwrap()
    }

    pub(super) async fn try_on(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, h2::Error> {
        let (sender, connection) = h2::client::handshake(io).await?;
        Ok(Self { sender, ended: tokio::spawn(connection) })
    }

    pub(super) async fn begin(&self, headers: &[(&str, &str)]) -> Result<Begun, h2::Error> {
        let mut request = Request::post(format!("http://localhost{PATH}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = soon(self.sender.clone().ready()).await?;
        let (response, stream) = sender.send_request(request.body(()).unwrap(), false)?;
        Ok(Begun(response, stream))
    }

    /// Until the port tells the connection to go.
    pub(super) async fn is_told_to_go(&self) {
        let told = async {
            while self.sender.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        soon(told).await;
    }

    pub(super) async fn start(&self, message: &str) -> Begun {
        let mut begun = self.begin(GRPC).await.unwrap();
        begun.1.send_data(framed(message), true).unwrap();
        begun
    }

    pub(super) async fn call(&self, message: &str) -> Answer {
        self.start(message).await.answer().await.unwrap()
    }

    async fn pieces(&self, headers: &[(&str, &str)], pieces: &[Bytes]) -> Answer {
        let mut begun = self.begin(headers).await.unwrap();
        for piece in pieces {
            // What is refused early takes no more.
            let _ = begun.1.send_data(piece.clone(), false);
        }
        let _ = begun.1.send_data(Bytes::new(), true);
        begun.answer().await.unwrap()
    }
}

pub(super) const GRPC: &[(&str, &str)] =
    &[("content-type", "application/grpc"), ("te", "trailers")];

#[tokio::test]
async fn messages_come_through_whole_or_byte_by_byte() {
    let port = Hot::new(Limits::default()).await;
    let caller = port.caller().await;
    let long = "x".repeat(300_000);
    for message in ["hello", "", &long] {
        let answer = caller.call(message).await;
        assert_eq!((answer.http, answer.code()), (200, Some(Code::Ok)));
        assert_eq!(answer.body, framed(message));
    }
    let bytes: Vec<_> = framed("hello").chunks(1).map(Bytes::copy_from_slice).collect();
    assert_eq!(caller.pieces(GRPC, &bytes).await.body, framed("hello"));
}

#[tokio::test]
async fn bad_requests_are_refused_and_cost_themselves_only() {
    let port = Hot::new(Limits { message: 100, ..Limits::default() }).await;
    let caller = port.caller().await;
    let compressed = Bytes::from_static(b"\x01\0\0\0\x01a");
    let timed = |text| [GRPC, &[("grpc-timeout", text)]].concat();
    for (headers, pieces, code) in [
        (GRPC.to_vec(), vec![framed(&"x".repeat(101))], Code::ResourceExhausted),
        (GRPC.to_vec(), vec![compressed], Code::Unimplemented),
        (GRPC.to_vec(), vec![], Code::Unimplemented),
        (GRPC.to_vec(), vec![framed("a"), framed("b")], Code::Unimplemented),
        (GRPC.to_vec(), vec![framed("cut off").split_to(9)], Code::Internal),
        (timed("soon"), vec![framed("a")], Code::Internal),
        (GRPC.to_vec(), vec![framed("panic")], Code::Internal),
        (GRPC.to_vec(), vec![framed("panic late")], Code::Internal),
    ] {
        let answer = caller.pieces(&headers, &pieces).await;
        assert_eq!((answer.http, answer.code()), (200, Some(code)), "{pieces:?}");
        assert_eq!(answer.end["content-type"], "application/grpc");
        assert_eq!(caller.call("after").await.body, framed("after"));
    }
    let json = caller.pieces(&[("content-type", "application/json")], &[framed("a")]).await;
    assert_eq!((json.http, json.code()), (415, None));
    let huge = "x".repeat(20_000);
    let huge = caller.pieces(&[("content-type", "application/grpc"), ("x", &huge)], &[]).await;
    assert_eq!(huge.http, 431);
    assert_eq!(caller.call("after").await.body, framed("after"));
}

#[tokio::test]
async fn errors_are_told_in_words_that_headers_can_have() {
    let port = Hot::new(Limits::default()).await;
    let answer = port.caller().await.call("error").await;
    assert_eq!(answer.code(), Some(Code::InvalidArgument));
    assert_eq!(answer.end["grpc-message"], "kein%20Schl%C3%BCssel:%20100%20%25");
}

#[tokio::test]
async fn the_method_hears_how_long_the_caller_waits() {
    let port = Hot::new(Limits::default()).await;
    let caller = port.caller().await;
    assert_eq!(caller.call("deadline").await.body, framed("None"));
    let headers = [GRPC, &[("grpc-timeout", "20m")]].concat();
    let answer = caller.pieces(&headers, &[framed("deadline")]).await;
    assert_eq!(answer.body, framed("Some(20ms)"));
}

#[tokio::test]
async fn a_call_that_waits_holds_nobody_up() {
    let mut port = Hot::new(Limits::default()).await;
    let caller = port.caller().await;
    let waits = caller.start("wait").await;
    soon(port.came.recv()).await.unwrap();
    assert_eq!(caller.call("hello").await.body, framed("hello"));
    port.may_answer.add_permits(1);
    assert_eq!(waits.answer().await.unwrap().body, framed("wait"));
}

#[tokio::test]
async fn a_call_that_is_given_up_ends() {
    let mut port = Hot::new(Limits::default()).await;
    let caller = port.caller().await;
    let mut waits = caller.start("wait").await;
    soon(port.came.recv()).await.unwrap();
    waits.1.send_reset(Reason::CANCEL);
    soon(port.gone.recv()).await.unwrap();
    assert_eq!(caller.call("hello").await.body, framed("hello"));
    // And with its connection.
    let _waits = caller.start("wait").await;
    soon(port.came.recv()).await.unwrap();
    caller.ended.abort();
    soon(port.gone.recv()).await.unwrap();
}

#[tokio::test]
async fn unfinished_messages_are_bounded() {
    let port = Hot::new(Limits { unfinished: 20, ..Limits::default() }).await;
    let caller = port.caller().await;
    let mut first = caller.begin(GRPC).await.unwrap();
    first.1.send_data(framed("0123456789").split_to(14), false).unwrap();
    let mut second = caller.begin(GRPC).await.unwrap();
    second.1.send_data(framed("0123456789").split_to(14), false).unwrap();
    let second = second.answer().await.unwrap();
    assert_eq!(second.code(), Some(Code::ResourceExhausted));
    first.1.send_data(Bytes::from_static(b"9"), true).unwrap();
    assert_eq!(first.answer().await.unwrap().body, framed("0123456789"));
    // Given back.
    let pieces = [framed("0123456789").split_to(14), Bytes::from_static(b"9")];
    assert_eq!(caller.pieces(GRPC, &pieces).await.body, framed("0123456789"));
}

#[tokio::test]
async fn a_flood_of_resets_hurts_its_connection_only() {
    let port = Hot::new(Limits::default()).await;
    let (flood, caller) = (port.caller().await, port.caller().await);
    for _ in 0..5000 {
        // From some moment on the port may refuse it.
        let Ok(mut begun) = flood.begin(GRPC).await else { break };
        begun.1.send_reset(Reason::CANCEL);
    }
    assert_eq!(caller.call("hello").await.body, framed("hello"));
}

#[tokio::test]
async fn clients_and_health_share_its_connection() {
    let port = Hot::new(Limits::default()).await;
    let channel = Channel::from_shared(format!("http://{}", port.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = RateLimitServiceClient::new(channel.clone());
    let answer = soon(client.should_rate_limit(RateLimitRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner(), RateLimitResponse::default());
    let request = HealthCheckRequest::default();
    let health = soon(HealthClient::new(channel).check(request)).await.unwrap();
    assert_eq!(health.into_inner().status(), Told::Serving);
}

#[tokio::test]
async fn a_call_in_flight_is_answered_while_the_port_drains() {
    let mut port = Hot::new(Limits::default()).await;
    let caller = port.caller().await;
    let waits = caller.start("wait").await;
    soon(port.came.recv()).await.unwrap();
    port.trigger.fire();
    caller.is_told_to_go().await;
    assert!(!port.served.is_finished());
    port.may_answer.add_permits(1);
    assert_eq!(waits.answer().await.unwrap().body, framed("wait"));
    soon(port.served).await.unwrap();
    soon(caller.ended).await.unwrap().unwrap();
}
