# A web server on loopback for several cases: plain HTTP on $PORT, TLS on a unix socket.

# Write the site and start the server; $SITE is its address, $NGINX its process. It is stopped at exit.
nginx_start() {
    SITE=http://127.0.0.1:$PORT
    site_write
    dir_for_nobody run
    openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 30 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost 2> openssl.log
    chmod 644 key.pem
    configuration_write > nginx.conf
    "${AS_NOBODY[@]}" nginx -p "$PWD" -c nginx.conf -e stderr 2> nginx.log &
    NGINX=$!
    trap 'kill -QUIT $NGINX; wait $NGINX' EXIT
    wait_until curl -sf "$SITE/small.html"
}

site_write() {
    mkdir -p site/files
    echo '<p>small</p>' > site/small.html
    text_generate 3000 > site/large.html
    echo '<!--#set var="v" value="shown" --><!--#echo var="v" --><!--#include virtual="/small.html" -->' \
        > site/included.shtml
    local n
    for n in $(seq 200); do text_generate "$n" "$n" > "site/files/$n"; done
}

configuration_write() {
    cat <<CONF
daemon off;
worker_processes 2;
pid run/pid;
events { worker_connections 256; }
http {
    access_log off;
    default_type text/html;
    gzip on;
    gzip_min_length 100;
    client_body_temp_path run/body;
    proxy_temp_path run/proxy;
    fastcgi_temp_path run/fastcgi;
    uwsgi_temp_path run/uwsgi;
    scgi_temp_path run/scgi;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    server {
        listen 127.0.0.1:$PORT;
        listen unix:$PWD/run/tls ssl http2;
        root site;
        keepalive_requests 100000;
        location ~ shtml { ssi on; }
    }
}
CONF
}
