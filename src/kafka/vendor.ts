import kafkajs from "kafkajs";

/** What is used of the library as values. It is CommonJS, whose names Node can't import one by one. */
export const {
  AssignerProtocol,
  CompressionCodecs,
  CompressionTypes,
  ConfigResourceTypes,
  Kafka,
  logLevel,
  Partitioners,
} = kafkajs;
