# A Nomad job whose task has the token of the role ci in its environment. Nomad restarts the task within the role's
# refresh_interval after a rotation.
job "app" {
  datacenters = ["dc1"]

  group "app" {
    task "app" {
      driver = "docker"

      config {
        image   = "registry.example.com/app"
        command = "python3"
        args    = ["app.py"]
      }

      vault {
        role = "app"
      }

      template {
        env         = true
        destination = "secrets/modal.env"
        change_mode = "restart"

        # The template writes the whole text unchanged, because Nomad kills a task if it cannot parse the task's
        # file.
        data = <<EOT
{{ with secret "modal/creds/ci/dotenv" }}{{ .Data.dotenv }}{{ end }}
EOT
      }
    }
  }
}
