"""All dependencies as a CycloneDX document: name, release, licence, hashes, and whether users get them."""

from collections.abc import Mapping

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from deploy.audit.licences import licence_of
from deploy.audit.lock import Locked


def sbom(everything: Mapping[str, Locked], runtime: Mapping[str, Locked], version: str) -> str:
    """The document as JSON.

    Args:
        everything: all releases by name.
        runtime: those that users get; the others serve development and extras.
        version: of Trialwright.
    """
    bom = Bom()
    root = Component(
        name="trialwright", version=version, type=ComponentType.APPLICATION, bom_ref="trialwright"
    )
    bom.metadata.component = root
    parts = [_component(one, is_runtime=name in runtime) for name, one in everything.items()]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(root, [part for part in parts if part.scope is ComponentScope.REQUIRED])
    written: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return written


def _component(one: Locked, *, is_runtime: bool) -> Component:
    licence = licence_of(one.name)
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED if is_runtime else ComponentScope.OPTIONAL,
        purl=PackageURL("pypi", name=one.name, version=one.version),
        bom_ref=f"{one.name}=={one.version}",
        licenses=[_licence(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in one.sha256],
        properties=[Property(name="trialwright:marker", value=one.marker)] if one.marker else [],
    )


def _licence(expression: str) -> LicenseExpression | DisjunctiveLicense:
    if " " in expression:
        return LicenseExpression(expression)
    return DisjunctiveLicense(id=expression)
