import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.komamitsu.fluency.Fluency;
import org.komamitsu.fluency.fluentd.FluencyBuilderForFluentd;

/** Sends COUNT records with Fluency, packed and acknowledged: HOST PORT TAG COUNT. */
public class Client {
  public static void main(String[] args) throws Exception {
    FluencyBuilderForFluentd builder = new FluencyBuilderForFluentd();
    builder.setAckResponseMode(true);
    int count = Integer.parseInt(args[3]);
    try (Fluency fluency = builder.build(args[0], Integer.parseInt(args[1]))) {
      for (int i = 0; i < count; i++) fluency.emit(args[2], Map.of("log", "java " + i));
      fluency.flush();
      if (!fluency.waitUntilAllBufferFlushed(20)) throw new IllegalStateException("not flushed");
    }
    TimeUnit.MILLISECONDS.sleep(100);
  }
}
