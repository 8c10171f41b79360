"""curl over HTTP/3 alone (ngtcp2 and nghttp3 under it).

    curl3.py ADDRESS PORT CA PATH...   requests one after the other on one connection
"""

import json
import sys

from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt

HOST = "api.test"


def main():
    address, port, ca = sys.argv[1:4]
    curl = Curl()
    for path in sys.argv[4:]:
        body = bytearray()
        curl.setopt(CurlOpt.URL, f"https://{HOST}:{port}{path}".encode())
        curl.setopt(CurlOpt.RESOLVE, [f"{HOST}:{port}:{address}"])
        curl.setopt(CurlOpt.HTTP_VERSION, CurlHttpVersion.V3ONLY)
        curl.setopt(CurlOpt.CAINFO, ca.encode())
        curl.setopt(CurlOpt.PROXY, b"")
        curl.setopt(CurlOpt.WRITEFUNCTION, lambda bytes_: body.extend(bytes_) or len(bytes_))
        curl.perform(clear_headers=False)
        print(
            json.dumps(
                {
                    "status": curl.getinfo(CurlInfo.RESPONSE_CODE),
                    "version": curl.getinfo(CurlInfo.HTTP_VERSION),
                    "body": body.decode(errors="replace")[:200],
                    "length": len(body),
                }
            ),
            flush=True,
        )


main()
