# The product in one image. Built from the same hash-pinned lock as `make up`.
FROM python:3.11-slim-bookworm

RUN useradd --system --create-home --home-dir /srv/csms --shell /usr/sbin/nologin csms
WORKDIR /opt/csms
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY csms csms
COPY pki pki
COPY station station
COPY certs certs
COPY policies policies
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable .

USER csms
WORKDIR /srv/csms
ENV CSMS_DATA_DIR=/srv/csms/var
VOLUME /srv/csms/var
ENTRYPOINT ["csms"]
CMD ["up"]
