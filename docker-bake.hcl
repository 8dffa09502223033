// All images for both processors:   docker buildx bake
// One, for this machine, to be run:   docker buildx bake --set '*.platform=linux/amd64' --load writer
// Push:   REGISTRY=registry.example/daedalus VERSION=0.1.0 REVISION=$(git rev-parse HEAD) docker buildx bake --push
// Building for two processors at once needs a builder of the container driver: docker buildx create --use

variable "REGISTRY" { default = "localhost/daedalus" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
variable "BASE" { default = "python:3.13-slim-trixie" }

group "default" {
  targets = ["service"]
}

target "service" {
  matrix = {
    service = ["compactor", "featurizer", "ingestor", "provisioner", "simulator", "tools", "writer"]
  }
  name       = service
  target     = service
  dockerfile = "deploy/Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = ["${REGISTRY}/${service}:${VERSION}"]
  args = {
    BASE     = BASE
    VERSION  = VERSION
    REVISION = REVISION
  }
}
