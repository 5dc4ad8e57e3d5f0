/** Protocol Buffers, field by field: the one place where the library is imported. It trusts the lengths that it reads. */
export { PbfReader, PbfWriter } from "pbf";
