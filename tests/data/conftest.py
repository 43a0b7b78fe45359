"""A server on the loopback, for the sources that download."""

import http.server
import threading

import pytest


@pytest.fixture
def serve():
    """serve(content, filename) -> the URL of a loopback server that answers every request with it."""
    servers = []

    def start(content, filename="archive"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{filename}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
